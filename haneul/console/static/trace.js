// One request from the key that asked to the money it cost.

import { copyButton, fill, h, icon } from "./dom.js";
import { between, duration, moment, momentUtc, money, shortDigest, speed, tokens } from "./format.js";
import { t } from "./i18n.js";
import { problem } from "./models.js";

/** A function that opens the panel for a request id. */
export function tracePanel(dialog, api) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the ground beside the panel
  });
  return async function open(id) {
    show(dialog, id, h("p", { class: "note" }, t("loading")));
    if (!dialog.open) dialog.showModal();
    try {
      show(dialog, id, record(await api.request(id)));
    } catch (error) {
      const words = error.status === 404 ? h("p", { class: "note" }, t("trace_missing")) : null;
      show(dialog, id, words ?? problem(error, () => open(id)));
    }
  };
}

function show(dialog, id, content) {
  const close = h("button", { class: "quiet round", type: "button", "aria-label": t("close"), title: t("close"), onclick: () => dialog.close() }, icon("close"));
  const words = { copy: t("copy"), copied: t("copied"), not_copied: t("not_copied") };
  fill(
    dialog,
    h("header", {}, h("h2", { id: "trace-title" }, t("trace")), close),
    h("p", { class: "trace-id" }, h("code", {}, id), copyButton(() => id, words)),
    content,
  );
}

function record(row) {
  return h(
    "div", { class: "stack" },
    h("p", {}, h("span", { class: `pill ${row.state}` }, t(`request_${row.state}`)), " ", h("time", { title: momentUtc(row.received_us) }, moment(row.received_us))),
    h("ol", { class: "path" }, steps(row).map(([name, value, lesser]) => h("li", {}, h("b", {}, name), h("span", {}, value), lesser ? h("small", {}, lesser) : null))),
    timeline(row),
    h("dl", { class: "facts-list" }, details(row).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}

function steps(row) {
  return [
    [t("trace_key"), row.key_id, row.app ? `${t("trace_app")}: ${row.app}` : null],
    [t("trace_route"), row.route, row.is_stream ? "stream" : null],
    [t("trace_model"), row.model ?? t("none"), row.digest ? `sha256 ${shortDigest(row.digest)}` : null],
    [t("trace_engine"), row.engine ?? t("trace_no_engine"), [row.engine_version, row.chip].filter(Boolean).join(" · ")],
    [t("trace_money"), money(row.cost_nano, row.currency), `${t("trace_own")}: ${money(row.hour_nano, row.currency)}`],
  ];
}

/** Waited, read, wrote: as long as they took. */
function timeline(row) {
  const parts = [
    ["waited", between(row.received_us, row.started_us ?? row.finished_us)],
    ["read", between(row.started_us, row.first_token_us)],
    ["wrote", between(row.first_token_us, row.finished_us)],
  ].filter(([, seconds]) => seconds !== null && seconds >= 0);
  const pieces = parts.map(([name, seconds]) => {
    const piece = h("span", { class: name });
    piece.style.flexGrow = String(Math.max(seconds, 1e-6));
    return piece;
  });
  const legend = parts.map(([name, seconds]) => h("li", { class: name }, h("b", {}, duration(seconds)), ` ${t(`trace_${name}`)}`));
  return h("div", { class: "meter" }, h("div", { class: "track", "aria-hidden": "true" }, pieces), h("ul", {}, legend));
}

function details(row) {
  const wrote = speed(row.completion_tokens, between(row.first_token_us, row.finished_us));
  return [
    [t("trace_first"), row.first_token_us ? duration(between(row.received_us, row.first_token_us)) : t("none")],
    [t("prompt"), `${tokens(row.prompt_tokens)}, ${t("of_it_cached")}: ${tokens(row.cached_tokens)}`],
    [t("answer"), [tokens(row.completion_tokens), wrote].filter(Boolean).join(", ")],
    ...(row.reasoning_tokens ? [[t("trace_reasoning"), tokens(row.reasoning_tokens)]] : []),
    [t("trace_metering"), t(`metering_${row.metering}`)],
    [t("trace_status"), String(row.status)],
    ...(row.error_code ? [[t("trace_error"), row.error_code]] : []),
    ...(row.upstream_id ? [[t("trace_upstream"), row.upstream_id]] : []),
  ];
}
