// The models: state, price, place.

import { fill, h } from "./dom.js";
import { count, money, roundMoney, shortDigest, tokens } from "./format.js";
import { t } from "./i18n.js";
import { familyTree } from "./lineage.js";

const REFRESH_MS = 5000;

export function modelsView({ api, account, chatWith }) {
  let timer = null;
  let shown = "";
  const list = h("div", { class: "cards" });
  const element = h(
    "section", { class: "page" },
    h("header", { class: "head" }, h("h1", { tabindex: "-1" }, t("models")), h("p", { class: "lead" }, t("models_lead"))),
    list,
  );

  async function load() {
    try {
      draw(await api.models());
    } catch (error) {
      shown = "";
      fill(list, problem(error, load));
    }
  }

  function draw(models) {
    const now = JSON.stringify(models);
    if (now === shown) return; // an open price basis or a selection stays as it is
    shown = now;
    const open = new Set([...list.querySelectorAll("details[open]")].map((details) => details.dataset.model));
    if (!models.length) fill(list, empty());
    else fill(list, models.map((model) => card(model, { isDefault: model.id === account.me.default_model, isOpen: open.has(model.id), chatWith, api })));
  }

  return {
    element,
    title: t("models"),
    show: async () => {
      await load();
      timer = setInterval(() => document.hidden || load(), REFRESH_MS);
    },
    leave: () => clearInterval(timer),
  };
}

/** What went wrong, with a way to try again. */
export function problem(error, again) {
  return h(
    "div", { class: "warning", role: "alert" },
    h("p", {}, h("strong", {}, error.headline ?? t("error_other")), error.detail ? ` ${error.detail}` : ""),
    h("button", { class: "quiet small", type: "button", onclick: again }, t("try_again")),
  );
}

function empty() {
  return h("div", { class: "nothing" }, h("h2", {}, t("no_models")), h("p", { class: "hint" }, t("no_models_hint"), h("code", { class: "command" }, "haneul pull MODEL")));
}

/** A name that leads to others: a route, or an alias of a revision. */
function routeCard(model, chatWith) {
  const led = [...model.members.map((each) => each.model), ...model.fallbacks];
  return h(
    "article", { class: "card model" },
    h("header", {}, h("h2", {}, model.id), h("span", { class: "pill ready" }, t("leads"))),
    h("p", {}, t("leads_to")),
    h("ul", {}, led.map((name) => h("li", {}, name))),
    h("button", { class: "quiet", type: "button", onclick: () => chatWith(model.id) }, t("ask_it")),
  );
}

function card(model, { isDefault, isOpen, chatWith, api }) {
  if (model.owned_by === "route") return routeCard(model, chatWith);
  const state = model.state ?? "ready";
  return h(
    "article", { class: "card model" },
    h(
      "header", {},
      h("h2", {}, model.id, isDefault ? h("span", { class: "tag" }, t("default_model")) : null),
      h("span", { class: `pill ${state}`, title: t(`state_${state}_hint`).startsWith("state_") ? null : t(`state_${state}_hint`) }, t(`state_${state}`)),
    ),
    priceOf(model.price),
    h("dl", { class: "facts-list" }, facts(model).map(([name, value, title]) => h("div", {}, h("dt", {}, name), h("dd", { title }, value)))),
    basis(model, isOpen),
    model.digest ? family(model, api) : null,
    h("button", { class: "quiet", type: "button", onclick: () => chatWith(model.id) }, t("ask_it")),
  );
}

function facts(model) {
  const isEmbedded = model.owned_by === "embedded";
  const engine = isEmbedded ? [t("engine_embedded"), model.engine_version].filter(Boolean).join(" · ") : model.owned_by;
  return [
    [t("context"), tokens(model.context_tokens)],
    [t("engine"), engine ?? t("unknown")],
    [t("chip"), model.chip ?? (isEmbedded ? t("unknown") : t("chip_remote"))],
    [t("version"), shortDigest(model.digest), model.digest],
    [t("load"), t("load_shown", { running: count(model.running), waiting: count(model.waiting) })],
    ...(model.restarts ? [[t("restarts"), count(model.restarts)]] : []),
  ];
}

function priceOf(price) {
  if (!price) return h("p", { class: "no-price" }, t("price_unknown"));
  const parts = [
    [t("price_in"), price.input_nano_per_million_tokens],
    [t("price_cached"), price.cached_nano_per_million_tokens],
    [t("price_out"), price.output_nano_per_million_tokens],
  ];
  const amounts = parts.map(([name, nano]) =>
    h("div", {}, h("dt", {}, name), h("dd", { title: `${money(nano, price.currency)} ${t("per_million")}` }, nano === 0 ? t("price_free") : roundMoney(nano, price.currency))),
  );
  return h("div", { class: "price" }, h("h3", {}, t("price")), h("dl", {}, amounts));
}

/** What the price was computed from, as the cloud keeps it. */
function basis(model, isOpen) {
  const price = model.price;
  if (!price) return null;
  const rows = flat(price.basis);
  const hour = price.chip_nano_per_hour;
  if (!rows.length && !hour) return null;
  return h(
    "details", { class: "basis", "data-model": model.id, open: isOpen },
    h("summary", {}, t("basis")),
    hour ? h("p", {}, t("chip_hour", { money: roundMoney(hour, price.currency) })) : null,
    h("dl", {}, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}

/** What it was made of and what was made of it, asked for when somebody looks. */
function family(model, api) {
  const inside = h("div", {}, t("loading"));
  const details = h("details", { class: "basis tree" }, h("summary", {}, t("family")), inside);
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    try {
      fill(inside, familyTree(await api.lineage(model.id)));
    } catch (error) {
      fill(inside, error.status === 404 ? h("p", { class: "hint" }, t("family_none")) : problem(error, () => details.dispatchEvent(new Event("toggle"))));
    }
  });
  return details;
}

/** [["decode tokens per s, low", "12.3"], …] of whatever the basis holds. */
function flat(value, name = "") {
  if (value === null || value === undefined) return name ? [[name, t("unknown")]] : [];
  if (typeof value !== "object") return [[name, typeof value === "number" ? count(value) : String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => {
    const words = key.replaceAll("_", " ");
    return flat(inner, name ? `${name}, ${words}` : words);
  });
}
