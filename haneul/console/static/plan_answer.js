// A plan as a person reads it, from the answer down to what was assumed.

import { copyButton, h } from "./dom.js";
import { bytes, count, percent } from "./format.js";
import { knows, language, t } from "./i18n.js";
import { curvePicture } from "./plan_curve.js";
import { estimate, estimateCell, figure, tableOf } from "./plan_numbers.js";

/** Everything of a plan; the parts after the table are of its first option. */
export function planAnswer(plan, question) {
  const first = plan.choice.options[0];
  return [
    answerCard(plan, first, question),
    optionsCard(plan),
    h("div", { class: "plan-halves" }, stepCard(first), memoryCard(first)),
    card(t("plan_curve"), h("p", { class: "hint" }, t("plan_curve_hint")), curvePicture(plan.curve, first)),
    plan.nearest.length ? nearestCard(plan.nearest) : null,
    plan.launch.length ? launchCard(plan.launch) : null,
    card(t("plan_assumed_list"), h("ul", { class: "plan-list" }, plan.assumptions.map((each) => h("li", {}, each)))),
  ].filter(Boolean);
}

function card(title, ...rest) {
  return h("section", { class: "card plan-card" }, h("h2", {}, title), rest);
}

function answerCard(plan, first, question) {
  const price = first.price;
  const facts = [
    [t("plan_throughput"), estimate(first.tokens_per_s, t("tokens_per_s"))],
    [t("time_to_first"), estimate(first.ttft, "ms", 1000)],
    [t("plan_per_token"), estimate(first.tpot, "ms", 1000)],
    [t("price_out"), price ? estimate(price.output, price.output.unit) : t("unknown")],
    [t("price_in"), price ? estimate(price.input, price.input.unit) : t("unknown")],
    [t("price_cached"), price ? estimate(price.cached, price.cached.unit) : t("unknown")],
    [t("plan_power"), first.power_w === null ? t("unknown") : `${figure(first.power_w / 1000)} kW`],
  ];
  return h(
    "section", { class: "card plan-answer", id: "plan-answer" },
    h("h2", {}, t("plan_answer", { model: question.model })),
    h("p", { class: "figure" }, h("strong", {}, `${count(first.chips)} × ${first.chip}`), " ", h("span", {}, how(first))),
    h("dl", { class: "plan-facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("p", { class: "hint" }, t("plan_interval")),
    h("div", { class: "plan-go" }, copyButton(() => plan.answer, copying("plan_copy_line")), copyButton(() => JSON.stringify(plan, null, 2), copying("plan_copy_json"))),
  );
}

function copying(name) {
  return { copy: t(name), copied: t("copied"), not_copied: t("not_copied") };
}

function how(option) {
  const layout = option.kind === "split" ? option.layout : `${count(option.replicas)} × ${option.layout}`;
  return `${layout} · ${kind(option)} · ${option.precision}`;
}

function kind(option) {
  return t(`plan_${option.kind}`);
}

function optionsCard(plan) {
  const heads = [t("plan_chips"), t("plan_layout"), t("plan_chip_speed"), t("plan_ttft_head"), t("plan_tpot_head"), t("plan_in_head"), t("plan_cached_head"), t("plan_out_head"), t("plan_power_head"), t("plan_why")];
  const [first] = plan.choice.options;
  const body = plan.choice.options.map((option) => [
    [`${count(option.chips)} × ${option.chip}`],
    [option.kind === "split" ? option.layout : `${count(option.replicas)} × ${option.layout}`, kind(option)],
    estimateCell(option.tokens_per_s_per_chip),
    estimateCell(option.ttft, 1000),
    estimateCell(option.tpot, 1000),
    ...["input", "cached", "output"].map((name) => (option.price ? estimateCell(option.price[name]) : [t("unknown")])),
    [option.power_w === null ? t("unknown") : figure(option.power_w / 1000)],
    [why(option, first)],
  ]);
  const refused = Object.entries(plan.refused).map(([chip, reason]) => h("li", {}, h("b", {}, chip), ` ${t("plan_refused")}: ${reason}`));
  return h(
    "section", { class: "card table" },
    h("h2", {}, t("plan_options")),
    tableOf("sums plan-options", t("plan_options"), heads, body),
    refused.length ? h("ul", { class: "plan-list plan-refused" }, refused) : null,
  );
}

/** Why an option is not the first, as the command says it. */
function why(option, first) {
  if (option === first) return t("plan_first");
  if (option.price && first.price) return t("plan_dearer", { share: percent(option.price.request.mid - first.price.request.mid, first.price.request.mid) });
  if (first.price) return t("price_unknown_short");
  return t("plan_slower", { share: percent(first.tokens_per_s_per_chip.mid - option.tokens_per_s_per_chip.mid, first.tokens_per_s_per_chip.mid) });
}

/** A bar for each term of a decode step, the longest first. */
function stepCard(first) {
  const whole = Object.values(first.terms).reduce((sum, seconds) => sum + seconds, 0);
  const terms = Object.entries(first.terms).filter(([, seconds]) => seconds > 0).sort((left, right) => right[1] - left[1]);
  const rows = terms.map(([name, seconds]) => {
    const bar = h("span", { class: "plan-bar", "aria-hidden": "true" });
    bar.style.width = `${(100 * seconds) / whole}%`;
    return h("li", { class: name === first.binding ? "binding" : null }, h("b", {}, term(name)), h("span", { class: "plan-track" }, bar), h("span", {}, `${figure(seconds * 1000)} ms, ${percent(seconds, whole)}`));
  });
  return card(t("plan_step", { time: `${figure(whole * 1000)} ms` }), h("ul", { class: "plan-bars" }, rows), h("p", { class: "hint" }, t("plan_binding", { term: term(first.binding) })));
}

function term(name) {
  return knows(`plan_term_${name}`) ? t(`plan_term_${name}`) : name;
}

function memoryCard(first) {
  const memory = first.memory;
  const used = memory.weights_bytes + memory.kv_bytes + memory.work_bytes;
  const parts = [["weights", memory.weights_bytes], ["kv", memory.kv_bytes], ["work", memory.work_bytes], ["headroom", Math.max(0, memory.capacity_bytes - used)]];
  const pieces = parts.map(([name, size]) => {
    const piece = h("span", { class: `memory-${name}` });
    piece.style.flexGrow = String(size / memory.capacity_bytes);
    return piece;
  });
  const legend = parts.map(([name, size]) => h("li", { class: `memory-${name}` }, h("b", {}, bytes(size)), ` ${t(`plan_memory_${name}`)}`));
  return card(
    t("plan_memory"),
    h("div", { class: "meter" }, h("div", { class: "track", "aria-hidden": "true" }, pieces), h("ul", {}, legend)),
    h("p", { class: "hint" }, t("plan_users_fit", { now: count(first.batch), most: count(memory.most_users) })),
  );
}

function nearestCard(rows) {
  const heads = [t("model"), t("plan_chips"), t("plan_lengths"), t("plan_measured"), t("plan_forecast"), t("plan_error"), t("plan_source")];
  const body = rows.map((row) => [
    [row.model], [row.chips], [`${count(row.isl)} / ${count(row.osl)}`],
    [`${figure(row.measured)} ${row.what}`], [`${figure(row.forecast)} ${row.what}`],
    [new Intl.NumberFormat(language, { style: "percent", signDisplay: "exceptZero" }).format(row.error)], [row.source],
  ]);
  return h("section", { class: "card table" }, h("h2", {}, t("plan_nearest")), tableOf("sums plan-nearest", t("plan_nearest"), heads, body));
}

/** The lines that start engines, each with how often and what it needs beside it. */
function launchCard(lines) {
  const blocks = lines.map((launch) => {
    const copies = launch.role === "aggregated" ? "plan_copies" : `plan_copies_${launch.role}`;
    return h(
      "div", { class: "stack tight" },
      h("figure", { class: "code" },
        h("figcaption", {}, h("span", {}, t(copies, { copies: count(launch.copies), chips: count(launch.chips), count: launch.chips })), copyButton(() => launch.line, copying("copy"))),
        h("pre", { tabindex: "0" }, h("code", {}, launch.line)),
      ),
      h("ul", { class: "plan-list hint" }, launch.notes.map((note) => h("li", {}, note))),
    );
  });
  return card(t("plan_launch"), blocks);
}
