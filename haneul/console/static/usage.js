// What was used and what it cost: the budget, sums by model, the newest requests.

import { fill, h } from "./dom.js";
import { between, count, duration, moment, momentUtc, money, percent, roundMoney, tokens } from "./format.js";
import { t } from "./i18n.js";
import { problem } from "./models.js";

const PERIODS = [1, 7, 30, 90, 365];
const NEWEST = 50;

export function usageView({ api, account, openTrace }) {
  const period = h("select", { "aria-label": t("period") }, PERIODS.map((days) => h("option", { value: days }, t("days", { count: days }))));
  period.value = "30";
  period.addEventListener("change", load);
  const refresh = h("button", { class: "quiet", type: "button", onclick: load }, t("refresh"));
  const content = h("div", { class: "stack" });
  const element = h(
    "section", { class: "page" },
    h("header", { class: "head" }, h("h1", { tabindex: "-1" }, t("usage")), h("p", { class: "lead" }, t("usage_lead"))),
    h("div", { class: "tools" }, h("div", { class: "select" }, period), refresh),
    content,
  );

  async function load() {
    try {
      await account.refresh();
      const usage = account.me.scopes.includes("usage") ? await api.usage({ days: period.value, limit: NEWEST }) : null;
      draw(usage);
    } catch (error) {
      fill(content, problem(error, load));
    }
  }

  function draw(usage) {
    if (!usage) return fill(content, budgetCard(account.me), nothing(t("no_usage_scope")));
    const isAll = account.me.scopes.includes("admin");
    const hint = h("p", { class: "hint" }, t("no_usage_hint"), h("code", { class: "command" }, "haneul keys create NAME --budget 5"));
    return fill(
      content,
      budgetCard(account.me),
      isAll ? h("p", { class: "note" }, t("all_keys")) : null,
      usage.usage.length ? byModel(usage.usage) : nothing(t("no_usage"), hint),
      usage.requests.length ? newest(usage.requests, openTrace) : null,
    );
  }

  return { element, title: t("usage"), show: load, leave: () => {} };
}

function nothing(title, ...rest) {
  return h("div", { class: "nothing" }, h("h2", {}, title), rest);
}

function budgetCard(me) {
  const left = me.budget_nano === null ? null : me.budget_nano - me.spent_nano - me.reserved_nano;
  const shown = left === null ? t("spent_so_far", { money: roundMoney(me.spent_nano, me.currency) }) : t("budget_left", { money: roundMoney(Math.max(0, left), me.currency) });
  const limit = left === null ? t("budget_none") : t("budget_of", { money: roundMoney(me.budget_nano, me.currency) });
  return h(
    "section", { class: "card budget" },
    h("h2", {}, t("budget", { name: me.name })),
    h("p", { class: "figure" }, h("strong", {}, shown), " ", h("span", {}, limit)),
    left === null ? null : bar(me, left),
    left !== null && left <= 0 ? h("p", { class: "warning" }, t("budget_over")) : null,
    h("dl", { class: "facts-list" }, limits(me).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}

function bar(me, left) {
  const parts = [["spent", me.spent_nano], ["reserved", me.reserved_nano], ["remaining", Math.max(0, left)]];
  const whole = Math.max(1, me.budget_nano, me.spent_nano + me.reserved_nano);
  const pieces = parts.map(([name, nano]) => {
    const piece = h("span", { class: name });
    piece.style.flexGrow = String(nano / whole);
    piece.hidden = nano === 0;
    return piece;
  });
  const legend = parts.map(([name, nano]) => h("li", { class: name }, h("b", {}, money(nano, me.currency)), ` ${t(name)}, ${percent(nano, whole)}`));
  return h("div", { class: "meter" }, h("div", { class: "track", "aria-hidden": "true" }, pieces), h("ul", {}, legend));
}

function limits(me) {
  const rates = [
    me.requests_per_minute && t("rate_requests", { shown: count(me.requests_per_minute) }),
    me.tokens_per_minute && t("rate_tokens", { shown: count(me.tokens_per_minute) }),
  ].filter(Boolean);
  return [
    [t("rates"), rates.join(", ") || t("rate_none")],
    [t("expires"), me.expires_us ? moment(me.expires_us) : t("never")],
  ];
}

function byModel(rows) {
  const merged = sums(rows);
  const line = (row, name) => [
    name,
    [count(row.requests), row.failed ? `${t("not_done")}: ${count(row.failed)}` : null],
    [tokens(row.prompt_tokens), row.cached_tokens ? t("share_cached", { share: percent(row.cached_tokens, row.prompt_tokens) }) : null],
    [tokens(row.completion_tokens)],
    [money(row.cost_nano, row.currency)],
  ];
  const heads = [t("model"), t("requests"), t("prompt"), t("answer"), t("cost")];
  const body = merged.map((row) => cells(heads, line(row, [row.model ?? t("none"), engineOf(row)])));
  const total = merged.length > 1 && new Set(merged.map((row) => row.currency)).size === 1;
  const foot = total ? h("tfoot", { role: "rowgroup" }, cells(heads, line(merged.reduce(added), [t("total")]))) : null;
  return tableCard("sums", t("by_model"), heads, body, foot);
}

function engineOf(row) {
  return row.engine === "embedded" ? t("engine_embedded") : row.engine ?? t("trace_no_engine");
}

/** One row per model and engine, over all keys. */
function sums(rows) {
  const found = new Map();
  for (const row of rows) {
    const name = JSON.stringify([row.model, row.engine, row.currency]);
    found.set(name, found.has(name) ? added(found.get(name), row) : row);
  }
  return [...found.values()];
}

function added(left, right) {
  const sum = { ...left };
  for (const name of ["requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_nano", "hour_nano"]) {
    sum[name] = left[name] + right[name];
  }
  return sum;
}

function newest(rows, openTrace) {
  const heads = [t("when"), t("model"), t("state"), t("prompt"), t("answer"), t("time_to_first"), t("duration"), t("cost"), t("request_id")];
  const body = rows.map((row) => cells(heads, requestLine(row, openTrace)));
  return tableCard("requests", t("newest"), heads, body);
}

function requestLine(row, openTrace) {
  const isAnswered = row.completion_tokens > 0;
  const id = h("button", { class: "id", type: "button", title: row.id, "aria-label": `${t("trace_open")}: ${row.id}`, onclick: () => openTrace(row.id) }, `…${row.id.slice(-8)}`);
  return [
    [h("time", { datetime: new Date(row.received_us / 1000).toISOString(), title: momentUtc(row.received_us) }, moment(row.received_us))],
    [row.model ?? t("none")],
    [h("span", { class: `pill ${row.state}` }, t(`request_${row.state}`)), row.error_code],
    [tokens(row.prompt_tokens), row.cached_tokens ? t("share_cached", { share: percent(row.cached_tokens, row.prompt_tokens) }) : null],
    [tokens(row.completion_tokens)],
    [isAnswered ? duration(between(row.received_us, row.first_token_us)) : "–"],
    [duration(between(row.received_us, row.finished_us))],
    [money(row.cost_nano, row.currency)],
    [id],
  ];
}

/** A table that a narrow screen may lay out as it likes: its roles are said, its cells know their heads. */
function tableCard(kind, title, heads, body, foot = null) {
  const head = h("tr", { role: "row" }, heads.map((name) => h("th", { scope: "col", role: "columnheader" }, name)));
  const table = h(
    "table", { class: kind, role: "table", "aria-label": title },
    h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, body), foot,
  );
  return h("section", { class: "card table" }, h("h2", {}, title), h("div", { class: "wide", tabindex: "0" }, table));
}

/** A row whose cells are [value, lesser value]. */
function cells(heads, values) {
  const cell = ([value, lesser], index) => h("td", { role: "cell", "data-head": heads[index] }, h("span", {}, value), lesser ? h("small", {}, lesser) : null);
  return h("tr", { role: "row" }, values.map(cell));
}
