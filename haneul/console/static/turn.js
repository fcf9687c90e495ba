// One question and its answer: how it grows, how it ends, and what stands under it.

import { copyButton, fill, h } from "./dom.js";
import { between, count, duration, money, percent, speed, tokens } from "./format.js";
import { t } from "./i18n.js";
import { markdownView } from "./markdown.js";
import { CutOff, pieces } from "./stream.js";

const TICK_MS = 1000;
const RECORD_TRIES = 8; // the record of a stopped request is written when the engine has let go
const RECORD_WAIT_MS = 250;
const ENDINGS = { length: "at_length", content_filter: "filtered" };

/** A turn: `element` to show, `run(messages)` to answer, `stop()`, and its `messages` for the next. */
export class Turn {
  constructor({ api, question, model, isLoading, openTrace, announce, onGrow, onRetry }) {
    Object.assign(this, { api, question, model, isLoading, openTrace, announce, onGrow, onRetry });
    this.text = "";
    this.thought = "";
    this.requestId = null;
    this._frame = null;
    this._build();
  }

  /** What the next question needs to know of this one; nothing where there was no answer. */
  get messages() {
    if (!this.text) return [];
    return [{ role: "user", content: this.question }, { role: "assistant", content: this.text }];
  }

  stop() {
    this._abort?.abort();
  }

  /** Asks and shows the answer as it comes. Never throws: what goes wrong is shown. */
  async run(history) {
    this._begin();
    try {
      const messages = [...history, { role: "user", content: this.question }];
      const response = await this.api.chat({ model: this.model, messages, signal: this._abort.signal });
      this.requestId = response.headers.get("x-request-id");
      for await (const piece of pieces(response)) this._take(piece);
      this._complete();
    } catch (error) {
      await this._broken(error);
    } finally {
      this._end();
    }
  }

  _build() {
    this._waiting = h("p", { class: "waiting" });
    this._thoughts = h("div", { class: "prose" });
    this._thoughtsBox = h("details", { class: "thoughts", hidden: true }, h("summary", {}, t("thoughts")), this._thoughts);
    this._prose = h("div", { class: "prose said" });
    this._notes = h("div", { class: "notes" });
    this._receipt = h("div", { class: "receipt" });
    this._answer = h("div", { class: "answer" }, this._waiting, this._thoughtsBox, this._prose, this._notes, this._receipt);
    const question = h("div", { class: "question" }, h("span", { class: "unseen" }, `${t("you")}: `), h("p", {}, this.question));
    this.element = h("article", { class: "turn" }, question, this._answer);
    const words = { copy: t("copy"), copied: t("copied"), not_copied: t("not_copied") };
    this._words = words;
    this._showText = markdownView(this._prose, words);
    this._showThought = markdownView(this._thoughts, words);
  }

  _begin() {
    this._abort = new AbortController();
    this._started = performance.now();
    this._first = null;
    this._last = null;
    this._usage = null;
    this._finish = null;
    this.text = this.thought = "";
    fill(this._notes);
    fill(this._receipt);
    this._showText("");
    this._showThought("");
    this._thoughtsBox.hidden = true;
    this._answer.setAttribute("aria-busy", "true");
    this._tick();
    this._clock = setInterval(() => this._tick(), TICK_MS);
    this.announce(t("answering"));
  }

  _tick() {
    const seconds = (performance.now() - this._started) / 1000;
    const words = this.isLoading() ? t("waiting_load") : t("waiting");
    fill(this._waiting, h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), words, seconds >= 1 ? ` · ${Math.round(seconds)} s` : "");
  }

  _take(piece) {
    if (piece.usage) this._usage = piece.usage;
    if (piece.finish) this._finish = piece.finish;
    if (!piece.text && !piece.thought) return;
    this._last = performance.now();
    if (this._first === null) this._firstPiece();
    this.text += piece.text ?? "";
    this.thought += piece.thought ?? "";
    this._frame ??= requestAnimationFrame(() => this._draw());
  }

  _firstPiece() {
    this._first = this._last;
    this._stopWaiting();
  }

  _stopWaiting() {
    clearInterval(this._clock);
    fill(this._waiting);
  }

  _draw() {
    cancelAnimationFrame(this._frame);
    this._frame = null;
    this._showText(this.text);
    if (this.thought) {
      this._thoughtsBox.hidden = false;
      this._showThought(this.thought);
    }
    this.onGrow();
  }

  _complete() {
    const usage = this._usage;
    if (ENDINGS[this._finish]) this._note(t(ENDINGS[this._finish]));
    if (!usage) return this._showReceipt([]);
    this._showReceipt([
      bill(usage.cost_nano, usage.currency),
      ...counts(usage.prompt_tokens, usage.prompt_tokens_details?.cached_tokens, usage.completion_tokens),
      t("first_token", { time: duration(this._seconds(this._first)) }),
      speed(usage.completion_tokens, this._first && (this._last - this._first) / 1000),
    ]);
    this.announce(`${t("answered")} ${t("cost")}: ${money(usage.cost_nano, usage.currency)}`);
  }

  async _broken(error) {
    this._stopWaiting();
    this._draw();
    if (error.name === "AbortError") await this._stopped();
    else if (this.requestId !== null) await this._cut(error);
    else this._refused(error);
  }

  async _stopped() {
    const words = this.requestId === null ? t("stopped_early") : t("stopped");
    this._note(words);
    this.announce(words);
    await this._showRecord();
  }

  async _cut(error) {
    const reasons = error instanceof CutOff ? [t("cut_reason")] : [error.headline ?? error.message, error.detail];
    this._warn(t("cut"), [...reasons, t("cut_kept")].filter(Boolean).join(" "));
    await this._showRecord();
  }

  _refused(error) {
    this._warn(error.headline ?? t("error_other"), error.detail ?? error.message);
  }

  /** The bill of an answer that did not end by itself, from the ledger. */
  async _showRecord() {
    if (this.requestId === null) return;
    this._showReceipt([t("bill_pending")]);
    const row = await this._record();
    if (row === null) return this._showReceipt([]);
    this._showReceipt([
      bill(row.cost_nano, row.currency),
      ...counts(row.prompt_tokens, row.cached_tokens, row.completion_tokens),
      t("first_token", { time: duration(between(row.received_us, row.first_token_us)) }),
      t("total_time", { time: duration(between(row.received_us, row.finished_us)) }),
    ]);
  }

  async _record() {
    for (let tries = 0; tries < RECORD_TRIES; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, RECORD_WAIT_MS * (tries + 1)));
      try {
        return await this.api.request(this.requestId);
      } catch (error) {
        if (error.status !== 404) return null;
      }
    }
    return null;
  }

  _end() {
    this._stopWaiting();
    this._draw();
    this._answer.removeAttribute("aria-busy");
  }

  _seconds(moment) {
    return moment === null ? null : (moment - this._started) / 1000;
  }

  _note(words) {
    this._notes.append(h("p", { class: "note" }, words));
  }

  _warn(headline, detail) {
    const retry = h("button", { class: "quiet small", type: "button", onclick: () => this.onRetry(this) }, t("try_again"));
    const words = h("p", {}, h("strong", {}, headline), detail ? ` ${detail}` : "");
    this._notes.append(h("div", { class: "warning", role: "alert" }, words, retry));
  }

  _showReceipt(parts) {
    const facts = parts.filter(Boolean).map((part) => (typeof part === "string" ? h("span", {}, part) : part));
    const copy = this.text ? copyButton(() => this.text, this._words) : null;
    fill(this._receipt, h("p", { class: "facts" }, facts), h("div", { class: "actions" }, h("span", {}, this.model), this._idButton(), copy));
  }

  _idButton() {
    if (!this.requestId) return null;
    return h("button", { class: "id", type: "button", title: t("trace_open"), onclick: () => this.openTrace(this.requestId) }, this.requestId);
  }
}

function bill(nano, currency) {
  return h("strong", { class: "cost", title: t("cost") }, money(nano, currency));
}

function counts(prompt, cached, completion) {
  const share = cached ? ` (${t("cached", { share: percent(cached, prompt) })})` : "";
  const shown = `${t("prompt_tokens", { shown: count(prompt) })}${share} → ${t("completion_tokens", { shown: tokens(completion) })}`;
  return [h("span", { title: `${t("prompt")}: ${tokens(prompt)}; ${t("of_it_cached")}: ${tokens(cached ?? 0)}; ${t("answer")}: ${tokens(completion)}` }, shown)];
}
