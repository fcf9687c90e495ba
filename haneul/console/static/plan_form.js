// The question of a plan: the model, its load and limits, the chips with their number and price.

import { h } from "./dom.js";
import { count } from "./format.js";
import { t } from "./i18n.js";

const CHIPS_MOST = 40;

/** The form; `ask` gets the question as the cloud reads it, and is waited for. */
export function planForm(known, ask) {
  const numbers = makeNumbers();
  const model = text("plan-model", { list: "plan-models", required: true, value: known.models.includes("Qwen3-32B") ? "Qwen3-32B" : known.models[0] });
  const demand = choice("plan-demand", [["most", t("plan_most")], ["rate", t("plan_rate")], ["users", t("plan_users")]]);
  const amount = number("plan-amount", { value: "20", "aria-label": t("plan_amount") });
  const engine = choice("plan-engine", known.engines.map((name) => [name, name]));
  const precision = choice("plan-precision", [["", t("plan_native")], ...known.precisions.map((name) => [name, name])]);
  const cacheBits = choice("plan-kv-bits", [["", t("plan_usual")], ["8", "8"], ["16", "16"]]);
  const assumed = h("input", { id: "plan-assumed", type: "checkbox" });
  const chips = chipRows(known);
  const message = h("p", { class: "message", role: "alert" });
  const submit = h("button", { class: "primary", type: "submit" }, t("plan_ask"));

  const showAmount = () => {
    const isRate = demand.value === "rate";
    amount.hidden = demand.value === "most";
    amount.required = !amount.hidden;
    amount.min = isRate ? "0.000001" : "1";
    amount.step = isRate ? "any" : "1";
  };
  demand.addEventListener("change", showAmount);
  showAmount();

  const form = h(
    "form", { class: "card plan-form", novalidate: true, "aria-label": t("plan_question") },
    h("datalist", { id: "plan-models" }, known.models.map((name) => h("option", { value: name }))),
    h("div", { class: "plan-fields" },
      field(t("plan_model"), model, "wide-field"),
      field(t("plan_isl"), numbers.isl),
      field(t("plan_osl"), numbers.osl),
      field(t("plan_demand"), h("div", { class: "plan-pair" }, h("div", { class: "select" }, demand), amount), "wide-field", demand),
      field(t("plan_ttft"), numbers.ttft),
      field(t("plan_tpot"), numbers.tpot),
    ),
    chips.element,
    h("details", { class: "basis" },
      h("summary", {}, t("plan_more")),
      h("div", { class: "plan-fields" },
        field(t("plan_cache_hit"), numbers.cache_hit),
        field(t("plan_acceptance"), numbers.acceptance),
        field(t("plan_utilisation"), numbers.utilisation),
        field(t("plan_precision"), h("div", { class: "select" }, precision), "", precision),
        field(t("plan_kv_bits"), h("div", { class: "select" }, cacheBits), "", cacheBits),
        field(t("plan_engine"), h("div", { class: "select" }, engine), "", engine),
        h("div", { class: "plan-check" }, assumed, h("label", { for: "plan-assumed" }, t("plan_assumed"))),
      ),
    ),
    h("div", { class: "plan-go" }, submit, message),
  );

  function question() {
    const asked = { model: model.value.trim(), chips: chips.names(), prices: chips.prices(), precision: precision.value, engine: engine.value, assume_like: assumed.checked };
    for (const [name, input] of Object.entries(numbers)) {
      if (input.value !== "") asked[name] = input.valueAsNumber / (input.dataset.percent ? 100 : 1);
    }
    if (cacheBits.value) asked.kv_bits = Number(cacheBits.value);
    if (demand.value !== "most") asked[demand.value] = amount.valueAsNumber;
    return asked;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = [...form.querySelectorAll("input")].find((input) => !input.hidden && !input.checkValidity());
    message.textContent = wrong ? `${nameOf(wrong)}: ${wrong.validationMessage}` : "";
    if (wrong) {
      wrong.closest("details")?.setAttribute("open", "");
      return wrong.focus();
    }
    submit.disabled = true;
    submit.textContent = t("plan_asking");
    await ask(question());
    submit.disabled = false;
    submit.textContent = t("plan_ask");
  });
  return form;
}

function makeNumbers() {
  const percent = { min: "0", max: "100", step: "any", "data-percent": "1" };
  return {
    isl: number("plan-isl", { min: "1", step: "1", value: "2000", required: true }),
    osl: number("plan-osl", { min: "1", step: "1", value: "500", required: true }),
    ttft: number("plan-ttft", { min: "0.001", step: "any", placeholder: t("plan_none") }),
    tpot: number("plan-tpot", { min: "0.001", step: "any", value: "50", placeholder: t("plan_none") }),
    cache_hit: number("plan-cache", { ...percent, value: "0" }),
    acceptance: number("plan-acceptance", { min: "0", max: "8", step: "any", value: "0" }),
    utilisation: number("plan-utilisation", { ...percent, min: "0.1", value: "100" }),
  };
}

/** Rows of chips: which, how many there are, what an hour of one costs. */
function chipRows(known) {
  const list = h("div", { class: "plan-chips" });
  const add = h("button", { class: "quiet small", type: "button", onclick: () => { make("").focus(); } }, t("plan_add"));

  function make(id) {
    const name = choice("", [["", t("plan_choose")], ...known.chips.map((chip) => [chip.id, chip.name])]);
    name.value = id;
    name.setAttribute("aria-label", t("plan_chip"));
    const many = number("", { min: "1", max: "1000000", step: "1", placeholder: t("plan_any") });
    const price = number("", { min: "0.000001", step: "any" });
    const facts = h("small", {});
    const away = h("button", { class: "quiet small", type: "button", "aria-label": t("plan_remove") }, "×");
    const row = h("div", { class: "plan-chip" }, h("div", { class: "select" }, name), named(t("plan_count"), many), named(t("plan_price"), price), away, facts);
    const told = () => {
      const chip = known.chips.find((each) => each.id === name.value);
      price.placeholder = chip?.usd_per_hour ? `${chip.usd_per_hour}` : t("unknown");
      facts.textContent = chip ? measures(chip) : "";
    };
    name.addEventListener("change", told);
    away.addEventListener("click", () => {
      row.remove();
      add.hidden = false;
      add.focus();
    });
    told();
    list.append(row);
    add.hidden = list.children.length >= CHIPS_MOST;
    return name;
  }

  known.usual.forEach((name) => make(known.chips.find((chip) => chip.id === name.toLowerCase())?.id ?? ""));
  const rows = () =>
    [...list.children].map((row) => {
      const [many, price] = row.querySelectorAll("input");
      return { id: row.querySelector("select").value, many: many.value, price: price.value };
    }).filter((row) => row.id);
  const heads = h("div", { class: "plan-chip plan-heads", "aria-hidden": "true" }, [t("plan_chip"), t("plan_count"), t("plan_price")].map((word) => h("span", {}, word)));
  return {
    element: h("fieldset", {}, h("legend", {}, t("plan_chips")), heads, list, add),
    names: () => rows().map((row) => (row.many ? `${row.many}x${row.id}` : row.id)),
    prices: () => rows().filter((row) => row.price).map((row) => `${row.id}=${row.price}`),
  };
}

/** "80 GB · 3.35 TB/s", and what is not known. */
function measures(chip) {
  const memory = chip.memory_gb === null ? t("plan_memory_unknown") : `${count(chip.memory_gb)} GB`;
  const speed = chip.bandwidth_tb_s === null ? t("plan_speed_unknown") : `${count(chip.bandwidth_tb_s)} TB/s`;
  return `${chip.vendor} · ${memory} · ${speed}`;
}

function text(id, properties) {
  return h("input", { id, class: "box", type: "text", spellcheck: "false", autocomplete: "off", autocapitalize: "off", ...properties });
}

function number(id, properties) {
  return h("input", { id: id || null, class: "box", type: "number", inputmode: "decimal", ...properties });
}

function choice(id, options) {
  return h("select", { id: id || null }, options.map(([value, words]) => h("option", { value }, words)));
}

/** A label over what it names. */
function field(words, content, kind = "", named = content) {
  return h("div", { class: `plan-field ${kind}` }, h("label", { for: named.id }, words), content);
}

/** An input with its name, which a wide screen shows once above all rows. */
function named(words, input) {
  return h("label", { class: "plan-cell" }, h("span", {}, words), input);
}

function nameOf(input) {
  return input.getAttribute("aria-label") ?? input.labels?.[0]?.textContent ?? "";
}
