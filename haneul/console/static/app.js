// The page: who is logged in, and which view is shown.

import { Api } from "./api.js";
import { chatView } from "./chat.js";
import { fill, h } from "./dom.js";
import { roundMoney } from "./format.js";
import { t, translate } from "./i18n.js";
import { loginView } from "./login.js";
import { modelsView } from "./models.js";
import { planView } from "./plan.js";
import { tracePanel } from "./trace.js";
import { usageView } from "./usage.js";

/** The key that is logged in, and what it has left, as the header shows it. */
class Account {
  constructor(api, purse) {
    this.me = null;
    this._api = api;
    this._purse = purse;
  }

  /** Asks again who is logged in; null when nobody is. */
  async refresh() {
    const me = await this._api.me();
    if (me === null) return null;
    this.me = me;
    this._show();
    return me;
  }

  _show() {
    const { name, currency, budget_nano: budget, spent_nano: spent, reserved_nano: reserved } = this.me;
    const left = budget === null ? null : Math.max(0, budget - spent - reserved);
    const words = left === null ? t("spent_so_far", { money: roundMoney(spent, currency) }) : t("budget_left", { money: roundMoney(left, currency) });
    fill(this._purse, h("span", { class: "name" }, name), h("span", {}, words));
    this._purse.classList.toggle("low", left !== null && left < budget / 10);
  }
}

class Page {
  constructor() {
    this.main = document.getElementById("main");
    this.bar = document.getElementById("bar");
    this.api = new Api({ onExpired: () => this.door(t("session_over")) });
    this.account = new Account(this.api, document.getElementById("purse"));
    this.views = null;
    this.kept = null;
    this.current = null;
  }

  async start() {
    translate(document);
    document.documentElement.dataset.sky = sky(new Date().getHours());
    addEventListener("hashchange", () => this.route());
    document.getElementById("skip").addEventListener("click", () => this.main.focus());
    document.getElementById("log-out").addEventListener("click", () => this.logOut());
    try {
      await this.enter();
    } catch (error) {
      this.unreachable(error);
    }
  }

  /** Opens the views if somebody is logged in, the door if not. */
  async enter() {
    const me = await this.account.refresh();
    if (me === null) return this.door();
    if (this.kept?.id !== me.id) this.kept = { id: me.id, views: this.makeViews() };
    this.views = this.kept.views; // who comes back after a log-in that ended finds the conversation
    this.bar.hidden = false;
    return this.route();
  }

  makeViews() {
    const openTrace = tracePanel(document.getElementById("trace"), this.api);
    const parts = { api: this.api, account: this.account, openTrace, announce };
    const chat = chatView(parts);
    const chatWith = async (name) => {
      location.hash = "#/chat";
      chat.choose(name);
    };
    return { chat, models: modelsView({ ...parts, chatWith }), plan: planView(parts), usage: usageView(parts) };
  }

  route() {
    if (!this.views) return;
    const name = location.hash.replace(/^#\//, "");
    this.show(this.views[name] ?? this.views.chat);
  }

  show(view) {
    if (view === this.current) return;
    this.current?.leave();
    const isFirst = this.current === null;
    this.current = view;
    document.title = `${view.title} · haneul`;
    fill(this.main, view.element);
    for (const link of this.bar.querySelectorAll("[data-view]")) {
      const isHere = this.views?.[link.dataset.view] === view;
      if (isHere) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    scrollTo(0, 0);
    if (!isFirst) view.element.querySelector("h1")?.focus({ preventScroll: true });
    view.show();
  }

  door(note) {
    if (this.views === null && this.current !== null) return;
    document.getElementById("trace").close();
    this.views = null;
    this.bar.hidden = true;
    this.show(loginView({ api: this.api, note, onDone: () => this.enter() }));
  }

  unreachable(error) {
    const again = h("button", { class: "primary", type: "button", onclick: () => location.reload() }, t("try_again"));
    const [before, after] = t("unreachable_hint").split("{code}");
    const hint = h("p", { class: "hint" }, before, h("code", {}, "haneul up"), after);
    const words = error.status === 0 ? hint : h("p", { class: "hint" }, error.detail);
    fill(this.main, h("section", { class: "login" }, h("h1", {}, error.headline ?? t("error_other")), words, again));
  }

  async logOut() {
    await this.api.logOut().catch(() => {}); // a cookie that outlives a dead cloud opens nothing
    location.replace("/"); // what was said goes with the page's memory
  }
}

function announce(words) {
  document.getElementById("announcer").textContent = words;
}

/** The sky follows the hour. */
function sky(hour) {
  if (hour >= 5 && hour < 9) return "dawn";
  if (hour >= 9 && hour < 17) return "day";
  return hour >= 17 && hour < 21 ? "dusk" : "night";
}

new Page().start();
