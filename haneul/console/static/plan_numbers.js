// Forecasts as a person reads them: a number, its interval, its unit; and tables of them.

import { h } from "./dom.js";
import { language } from "./i18n.js";

const FINE = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });

/** "1,234", "56.7", "0.00123" */
export function figure(number) {
  return Math.abs(number) >= 100 ? WHOLE.format(number) : FINE.format(number);
}

/** "1,234 tokens/s (812–1,900)" */
export function estimate({ low, mid, high }, unit, factor = 1) {
  return [`${figure(mid * factor)} ${unit}`, h("small", {}, interval(low, high, factor))];
}

/** The number and, smaller, its interval, as cells of a table take them. */
export function estimateCell({ low, mid, high }, factor = 1) {
  return [figure(mid * factor), interval(low, high, factor)];
}

function interval(low, high, factor) {
  return `${figure(low * factor)} – ${figure(high * factor)}`;
}

/** A table that a narrow screen may lay out as it likes; cells are [value, lesser value]. */
export function tableOf(kind, title, heads, rows) {
  const cell = ([value, lesser], index) => h("td", { role: "cell", "data-head": heads[index] }, h("span", {}, value), lesser ? h("small", {}, lesser) : null);
  const head = h("tr", { role: "row" }, heads.map((name) => h("th", { scope: "col", role: "columnheader" }, name)));
  const body = rows.map((row) => h("tr", { role: "row" }, row.map(cell)));
  const table = h("table", { class: kind, role: "table", "aria-label": title }, h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, body));
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": title }, table);
}
