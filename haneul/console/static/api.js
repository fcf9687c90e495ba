// The calls of the page to the cloud that served it.

import { knows, t } from "./i18n.js";

/** What the cloud refused, or that it did not answer (status 0). */
export class ApiError extends Error {
  constructor({ status = 0, code = null, message = "", retryAfterS = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  /** One kind sentence, in the reader's language. */
  get headline() {
    if (this.status === 0) return t("unreachable");
    const name = `error_${this.code}`;
    return knows(name) ? t(name) : this.message || t("error_other");
  }

  /** What the cloud said itself, and when to try again; "" where the headline says it all. */
  get detail() {
    const said = this.message && this.message !== this.headline ? this.message : "";
    const wait = this.retryAfterS ? t("retry_after", { seconds: this.retryAfterS }) : "";
    return [said, wait].filter(Boolean).join(" ");
  }
}

export class Api {
  /** `onExpired` is called when the log-in has ended. */
  constructor({ onExpired }) {
    this._onExpired = onExpired;
  }

  logIn(key) {
    return json("/haneul/v1/session", { method: "POST", body: { key } });
  }

  logOut() {
    return json("/haneul/v1/session", { method: "DELETE" });
  }

  /** Who is logged in, or null. */
  async me() {
    try {
      return await json("/haneul/v1/me");
    } catch (error) {
      if (error.status === 401) return null;
      throw error;
    }
  }

  async models() {
    return (await this._get("/v1/models")).data ?? [];
  }

  /** The family tree of a model of this machine. */
  lineage(model) {
    return this._get(`/haneul/v1/lineage/${encodeURIComponent(model)}`);
  }

  /** What a plan can be asked about. */
  plannable() {
    return this._get("/haneul/v1/plan");
  }

  /** A plan of serving. */
  plan(question) {
    return this._watched(() => json("/haneul/v1/plan/serve", { method: "POST", body: question }));
  }

  usage({ days, limit = 20 }) {
    return this._get(`/haneul/v1/usage?days=${days}&limit=${limit}`);
  }

  request(id) {
    return this._get(`/haneul/v1/requests/${encodeURIComponent(id)}`);
  }

  /** The open answer of a streamed chat. Throws ApiError before the first byte. */
  chat({ model, messages, signal }) {
    const body = { model, messages, stream: true, stream_options: { include_usage: true } };
    return this._watched(() => send("/v1/chat/completions", { method: "POST", body, signal }));
  }

  _get(path) {
    return this._watched(() => json(path));
  }

  async _watched(call) {
    try {
      return await call();
    } catch (error) {
      if (error.status === 401) this._onExpired();
      throw error;
    }
  }
}

async function json(path, options) {
  return (await send(path, options)).json();
}

async function send(path, { method = "GET", body, signal } = {}) {
  const headers = { "x-haneul-page": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError();
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const said = await response.json().catch(() => ({}));
  return errorOf(said.error, response.status, Number(response.headers.get("retry-after")) || null);
}

/** An OpenAI-shaped error as ApiError. */
export function errorOf(said, status, retryAfterS = null) {
  return new ApiError({ status, code: said?.code, message: said?.message, retryAfterS });
}
