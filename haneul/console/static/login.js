// The door: one field for the key.

import { fill, h, icon } from "./dom.js";
import { t } from "./i18n.js";

/** The log-in view; `onDone` is called when the key has opened the cloud. */
export function loginView({ api, onDone, note = "" }) {
  const field = h("input", {
    id: "key", name: "key", type: "password", autocomplete: "current-password", spellcheck: "false",
    autocapitalize: "off", placeholder: "sk-hn-…", required: true, "aria-describedby": "key-message",
  });
  const message = h("p", { class: "message", id: "key-message", role: "alert" }, note);
  const submit = h("button", { class: "primary", type: "submit" }, t("log_in"));
  const form = h(
    "form", { class: "door", novalidate: true },
    h("label", { for: "key" }, t("key")),
    h("input", { class: "unseen", autocomplete: "username", value: "haneul", tabindex: "-1", "aria-hidden": "true" }),
    h("div", { class: "field" }, field, reveal(field), submit),
    message,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    knock();
  });
  field.addEventListener("input", () => say(""));

  async function knock() {
    const key = field.value.trim();
    if (!key) return say(t("key_missing"));
    if (!key.startsWith("sk-hn-")) return say(t("key_shape"));
    submit.disabled = true;
    submit.textContent = t("logging_in");
    try {
      await api.logIn(key);
      field.value = "";
      await onDone();
    } catch (error) {
      refused(error);
    } finally {
      submit.disabled = false;
      submit.textContent = t("log_in");
    }
  }

  function refused(error) {
    if (error.status === 401) say(t("key_wrong"), error.message);
    else say(error.headline ?? t("error_other"), error.detail);
    field.select();
  }

  function say(...sentences) {
    field.toggleAttribute("aria-invalid", Boolean(sentences[0]));
    fill(message, sentences.filter(Boolean).map((sentence) => h("span", {}, sentence)));
  }

  return {
    element: page(form),
    title: t("log_in_title"),
    show: () => field.focus(),
    leave: () => {},
  };
}

function page(form) {
  return h(
    "section", { class: "login" },
    h("img", { class: "emblem", src: "/static/logo.svg", alt: "", width: 96, height: 96 }),
    h("p", { class: "word", "aria-hidden": "true" }, h("span", {}, "haneul"), h("span", { lang: "ko" }, "하늘")),
    h("h1", { tabindex: "-1" }, t("log_in_title")),
    h("p", { class: "lead" }, t("log_in_lead")),
    form,
    h("p", { class: "hint" }, t("no_key"), h("code", { class: "command" }, "haneul keys create NAME --budget 5")),
  );
}

function reveal(field) {
  const button = h("button", { class: "round", type: "button", "aria-pressed": "false", "aria-label": t("show_key"), title: t("show_key") }, icon("eye"));
  button.addEventListener("click", () => {
    const isShown = field.type === "password";
    field.type = isShown ? "text" : "password";
    button.setAttribute("aria-pressed", String(isShown));
    button.title = isShown ? t("hide_key") : t("show_key");
    button.setAttribute("aria-label", t("show_key"));
    field.focus();
  });
  return button;
}
