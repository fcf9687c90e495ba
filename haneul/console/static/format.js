// Numbers as a person reads them, each with its unit; what is not known is said.

import { language, t } from "./i18n.js";

const NANO = 1e9;
const MILLION_US = 1e6;
const grouped = new Intl.NumberFormat(language);

/** 1,234 */
export function count(number) {
  return isNumber(number) ? grouped.format(number) : t("unknown");
}

/** "1 token", "1,234 tokens" */
export function tokens(number) {
  return isNumber(number) ? t("tokens", { count: number, shown: count(number) }) : t("unknown");
}

/** All nine digits that count: "USD 0.00001234", zeros beyond cents left out. */
export function money(nano, currency) {
  if (!isNumber(nano)) return t("unknown");
  const whole = Math.floor(Math.abs(nano) / NANO);
  const rest = String(Math.round(Math.abs(nano) % NANO)).padStart(9, "0").replace(/0+$/, "").padEnd(2, "0");
  return `${currency} ${nano < 0 ? "-" : ""}${count(whole)}.${rest}`;
}

/** For headlines: cents, or three digits where it is less than a unit; the rest is cut, not rounded. */
export function roundMoney(nano, currency) {
  if (!isNumber(nano)) return t("unknown");
  const amount = Math.abs(nano) / NANO;
  const digits = amount === 0 || amount >= 1 ? 2 : Math.min(9, 2 - Math.floor(Math.log10(amount)));
  const cut = Math.floor(Math.abs(nano) / 10 ** (9 - digits)) / 10 ** digits;
  const shown = cut.toFixed(digits).replace(/(\.\d\d+?)0+$/, "$1");
  const [whole, rest] = shown.split(".");
  return `${currency} ${nano < 0 ? "-" : ""}${count(Number(whole))}.${rest}`;
}

/** "420 ms", "3.2 s", "4 min 10 s" */
export function duration(seconds) {
  if (!isNumber(seconds) || seconds < 0) return t("unknown");
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

/** The seconds between two UTC times in microseconds, or null. */
export function between(fromUs, toUs) {
  return isNumber(fromUs) && isNumber(toUs) ? (toUs - fromUs) / MILLION_US : null;
}

/** "38.2 tokens/s" of tokens that came within a stretch; the first marks its beginning. */
export function speed(tokenCount, seconds) {
  if (!isNumber(tokenCount) || !isNumber(seconds) || tokenCount < 2 || seconds <= 0) return null;
  const perSecond = (tokenCount - 1) / seconds;
  return `${perSecond < 100 ? perSecond.toFixed(1) : count(Math.round(perSecond))} ${t("tokens_per_s")}`;
}

/** "22 Nov, 00:31:05" in the reader's own time. */
export function moment(us) {
  if (!isNumber(us)) return t("unknown");
  const date = new Date(us / 1000);
  const day = date.toLocaleDateString(language, { day: "numeric", month: "short" });
  return `${day} ${date.toLocaleTimeString(language, { hour12: false })}`;
}

/** The same instant in UTC, for a tooltip. */
export function momentUtc(us) {
  return isNumber(us) ? `${new Date(us / 1000).toISOString().slice(0, 19).replace("T", " ")}Z` : "";
}

/** "77 %"; what is little is never shown as nothing, nor what is not all as all. */
export function percent(part, whole) {
  const share = whole > 0 ? (100 * part) / whole : 0;
  if (share > 0 && share < 1) return "< 1 %";
  if (share > 99 && share < 100) return "> 99 %";
  return `${Math.round(share)} %`;
}

/** "4.9 %" of a share. */
export function sharePercent(share) {
  return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(100 * share)} %`;
}

/** "98.4 MB" */
export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = number > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(number) / 3)) : 0;
  return `${new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 }).format(number / 1000 ** step)} ${units[step]}`;
}

/** The first 12 digits of a digest. */
export function shortDigest(digest) {
  return digest ? digest.replace(/^sha256:/, "").slice(0, 12) : t("unknown");
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function pad(number) {
  return String(number).padStart(2, "0");
}
