// The plan of serving: what is asked on top, below it the whole answer.

import { fill, h } from "./dom.js";
import { t } from "./i18n.js";
import { problem } from "./models.js";
import { planAnswer } from "./plan_answer.js";
import { planForm } from "./plan_form.js";

export function planView({ api, announce }) {
  let isLoaded = false;
  const place = h("div", { class: "stack", "aria-live": "off" });
  const door = h("div", { class: "stack" });
  const element = h(
    "section", { class: "page" },
    h("header", { class: "head" }, h("h1", { tabindex: "-1" }, t("plan")), h("p", { class: "lead" }, t("plan_lead"))),
    door,
    place,
  );

  async function load() {
    if (isLoaded) return;
    try {
      const known = await api.plannable();
      fill(door, planForm(known, ask));
      isLoaded = true;
    } catch (error) {
      fill(door, problem(error, load));
    }
  }

  /** Asks and draws; what stood there before stays until then, greyed. */
  async function ask(question) {
    place.setAttribute("aria-busy", "true");
    try {
      const plan = await api.plan(question);
      fill(place, planAnswer(plan, question));
      announce(plan.answer);
    } catch (error) {
      fill(place, h("div", { class: "refused" }, problem(error, () => ask(question))));
    } finally {
      place.removeAttribute("aria-busy");
    }
    place.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  return { element, title: t("plan"), show: load, leave: () => {} };
}
