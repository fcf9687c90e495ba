// The conversation: the model, the turns, and the field to write in.

import { fill, h, icon } from "./dom.js";
import { t } from "./i18n.js";
import { Turn } from "./turn.js";

const NEAR_PX = 60; // who is so close to the end follows the answer as it grows

export function chatView({ api, account, openTrace, announce }) {
  let turns = [];
  let running = null;
  let models = [];
  let isFollowing = true; // until the reader scrolls up, and again at the end
  let lastTop = 0;
  let wanted = account.me.default_model;

  const picker = h("select", { id: "model", "aria-label": t("model") });
  const fresh = h("button", { class: "quiet", type: "button", title: t("new_chat_hint"), onclick: reset }, icon("plus"), t("new_chat"));
  const thread = h("div", { class: "thread", role: "log", "aria-live": "polite", "aria-label": t("chat") });
  const field = h("textarea", { id: "message", rows: 1, placeholder: t("message_hint"), "aria-label": t("message"), "aria-describedby": "message-keys", enterkeyhint: "send" });
  const action = h("button", { class: "primary round", type: "submit" });
  const form = h("form", { class: "composer" }, field, action);
  const foot = h("div", { class: "foot" }, form, h("p", { class: "keys", id: "message-keys" }, t("keys_hint")));
  const element = h(
    "section", { class: "chat" },
    h("h1", { class: "unseen", tabindex: "-1" }, t("chat")),
    h("div", { class: "tools" }, h("div", { class: "select" }, picker), fresh),
    thread,
    foot,
  );

  addEventListener("scroll", () => element.isConnected && scrolled(document.documentElement));
  picker.addEventListener("change", () => (wanted = picker.value));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.stop();
    else ask(field.value);
  });
  field.addEventListener("input", fit);
  field.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return; // a Korean syllable is still being written
    if (event.key === "Escape" && running) running.stop();
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    if (!running) ask(field.value);
  });

  function ask(text) {
    const question = text.trim();
    if (!question || running || !picker.value) return;
    field.value = "";
    fit();
    const turn = new Turn({
      api, question, model: picker.value, openTrace, announce,
      isLoading: () => ["loading", "stopped", "backoff"].includes(stateOf(turn.model)),
      onGrow: follow,
      onRetry: answer,
    });
    if (!turns.length) fill(thread);
    turns.push(turn);
    thread.append(turn.element);
    answer(turn);
  }

  async function answer(turn) {
    if (running) return;
    running = turn;
    isFollowing = true;
    turn.model = picker.value;
    showAction();
    toEnd();
    const before = turns.slice(0, turns.indexOf(turn)).flatMap((earlier) => earlier.messages);
    await turn.run(before);
    if (running === turn) running = null;
    showAction();
    follow();
    account.refresh();
    loadModels();
  }

  function reset() {
    running?.stop();
    running = null;
    turns = [];
    showEmpty();
    showAction();
    field.focus();
  }

  function showAction() {
    const name = running ? "stop" : "send";
    fill(action, icon(name));
    action.setAttribute("aria-label", t(name));
    action.title = t(name);
    action.classList.toggle("stop", Boolean(running));
    action.disabled = !running && !picker.value;
    fresh.hidden = !turns.length;
  }

  function follow() {
    if (isFollowing && element.isConnected) toEnd();
  }

  function scrolled({ scrollTop, scrollHeight, clientHeight }) {
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    isFollowing = isNear || (isFollowing && scrollTop >= lastTop);
    lastTop = scrollTop;
  }

  function fit() {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight, 220)}px`;
  }

  function showEmpty() {
    const me = account.me;
    if (!me.scopes.includes("infer")) return fill(thread, welcome(t("no_chat")));
    if (!models.length) return fill(thread, welcome(t("no_models"), h("p", { class: "hint" }, t("no_models_hint"), h("code", { class: "command" }, "haneul pull MODEL"))));
    const tries = ["try_1", "try_2", "try_3"].map((name) => h("button", { class: "try", type: "button", onclick: () => ask(t(name)) }, t(name)));
    return fill(thread, welcome(greeting(), h("p", { class: "lead" }, t("chat_lead")), h("div", { class: "tries" }, tries)));
  }

  function stateOf(name) {
    return models.find((model) => model.id === name)?.state;
  }

  async function loadModels() {
    try {
      models = await api.models();
    } catch {
      return; // the next question says what is wrong
    }
    drawPicker();
    if (!turns.length) showEmpty();
    showAction();
  }

  function drawPicker() {
    const ready = models.find((model) => model.state === "ready") ?? models[0];
    const chosen = models.find((model) => model.id === wanted) ?? ready;
    fill(picker, models.map((model) => h("option", { value: model.id }, nameOf(model))));
    picker.value = chosen?.id ?? "";
    picker.disabled = !models.length;
  }

  showAction();
  return {
    element,
    title: t("chat"),
    choose: (name) => {
      wanted = name;
      drawPicker();
    },
    show: async () => {
      if (turns.length) toEnd();
      await loadModels();
      if (matchMedia("(hover: hover)").matches) field.focus();
    },
    leave: () => {},
  };
}

function toEnd() {
  scrollTo(0, document.documentElement.scrollHeight);
}

function nameOf(model) {
  return model.state === "ready" ? model.id : `${model.id} (${t(`state_${model.state}`).toLowerCase()})`;
}

function welcome(title, ...rest) {
  return h("div", { class: "welcome" }, h("h2", {}, title), rest);
}

function greeting() {
  const hour = new Date().getHours();
  if (hour >= 5 && hour < 12) return t("morning");
  if (hour >= 12 && hour < 18) return t("afternoon");
  return hour >= 18 && hour < 23 ? t("evening") : t("night");
}
