// Markdown as models write it, turned into elements. Every piece of a model's text becomes a text
// node or stays out: there is no way from an answer to HTML, to an image or to a script.

import { copyButton, h } from "./dom.js";

const DEPTH_MAX = 8; // of lists within lists, and of bold within italic
const INLINE_MAX = 20_000; // characters of one paragraph; a longer one is shown as it is
const FENCE = /^(\s*)(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^(?:-[ -]*-[ -]*-|\*[ *]*\*[ *]*\*|_[ _]*_[ _]*_)[ *_-]*$/;
const ITEM = /^(\s*)([-*+•]|\d{1,9}[.)])\s+(?=\S)/;
const QUOTE = /^\s{0,3}>\s?/;
const DIVIDER = /^\|?:?-+:?(?:\|:?-+:?)*\|?$/;
const INLINE = new RegExp(
  [
    /\\([\\`*_{}[\]()#+\-.!|~>$])/, // 1 an escaped mark
    /(`+)(?!`)([\s\S]*?[^`])\2(?!`)/, // 2, 3 code
    /\*\*(?=\S)([\s\S]*?\S)\*\*(?!\*)/, // 4 bold
    /(?<!\w)__(?=\S)([\s\S]*?\S)__(?!\w)/, // 5 bold
    /(?<!\w)\*(?=[^\s*])([^*]*?(?:\*\*[^*]+\*\*[^*]*?)*)(?<=\S)\*(?!\w)/, // 6 italic; 2*3*4 is none
    /(?<!\w)_(?=[^\s_])([^_]*?\S)_(?!\w)/, // 7 italic
    /~~(?=\S)([\s\S]*?\S)~~/, // 8 struck
    /\[([^\]\n]+)\]\((https?:\/\/[^\s()<>]+)\)/, // 9, 10 a link
    /(https?:\/\/[^\s<>()"'`\]]*[^\s<>()"'`\].,;:!?*_~])/, // 11 an address
  ]
    .map((part) => part.source)
    .join("|"),
  "g",
);

/** A function that shows a growing text in an element; only the blocks that changed are drawn. */
export function markdownView(container, words) {
  let shown = [];
  return (text) => {
    const blocks = parse(text);
    const same = shown.findIndex((source, index) => source !== blocks[index]?.source);
    const first = same < 0 ? shown.length : same;
    while (container.childNodes.length > first) container.lastChild.remove();
    container.append(...blocks.slice(first).map((block) => draw(block, words)));
    shown = blocks.map((block) => block.source);
  };
}

/** The blocks of a text: {kind, source, …}. */
export function parse(text, depth = 0) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at, depth);
    blocks.push({ ...block, source: lines.slice(at, next).join("\n") });
    at = next;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return fence(lines, at);
  const heading = HEADING.exec(line.trim());
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line.trim())) return [{ kind: "rule" }, at + 1];
  if (isTable(lines, at)) return table(lines, at);
  if (depth < DEPTH_MAX && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEPTH_MAX && ITEM.test(line)) return list(lines, at, depth);
  return paragraph(lines, at);
}

function fence(lines, at) {
  const [, indent, marks, language] = FENCE.exec(lines[at]);
  const strip = new RegExp(`^\\s{0,${indent.length}}`);
  let end = at + 1;
  while (end < lines.length && !closes(lines[end].trim(), marks)) end += 1;
  const text = lines.slice(at + 1, end).map((line) => line.replace(strip, "")).join("\n");
  return [{ kind: "code", language, text }, Math.min(end + 1, lines.length)];
}

function closes(line, marks) {
  return line.length >= marks.length && line === marks[0].repeat(line.length);
}

function isTable(lines, at) {
  const divider = (lines[at + 1] ?? "").replaceAll(" ", "");
  return lines[at].includes("|") && divider.includes("-") && DIVIDER.test(divider);
}

function table(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const rows = lines.slice(at + 2, end).map(cells);
  return [{ kind: "table", head: cells(lines[at]), rows }, end];
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const text = lines.slice(at, end).map((line) => line.replace(QUOTE, "")).join("\n");
  return [{ kind: "quote", blocks: parse(text, depth + 1) }, end];
}

function list(lines, at, depth) {
  const isOrdered = /\d/.test(ITEM.exec(lines[at])[2]);
  const start = isOrdered ? parseInt(ITEM.exec(lines[at])[2], 10) : null;
  const items = [];
  while (at < lines.length) {
    const mark = ITEM.exec(lines[at]);
    if (!mark || /\d/.test(mark[2]) !== isOrdered) break;
    const end = itemEnd(lines, at + 1, mark);
    const strip = new RegExp(`^\\s{0,${mark[0].length}}`);
    const rest = lines.slice(at + 1, end).map((line) => line.replace(strip, ""));
    items.push(parse([lines[at].slice(mark[0].length), ...rest].join("\n"), depth + 1));
    at = end;
    while (at + 1 < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1])) at += 1;
  }
  return [{ kind: "list", isOrdered, start, items }, at];
}

/** Where an item ends: what is indented more, and text that just goes on, belongs to it. */
function itemEnd(lines, at, mark) {
  let end = at;
  for (let next = at; next < lines.length; next += 1) {
    const line = lines[next];
    if (!line.trim()) continue;
    const isInside = indentOf(line) > mark[1].length;
    const goesOn = next === end && !ITEM.test(line) && !startsBlock(lines, next);
    if (!isInside && !goesOn) break;
    end = next + 1;
  }
  return end;
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function startsBlock(lines, at) {
  const line = lines[at];
  return (
    FENCE.test(line) || HEADING.test(line.trim()) || RULE.test(line.trim()) || QUOTE.test(line) || isTable(lines, at)
  );
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !ITEM.test(lines[end]) && !startsBlock(lines, end)) end += 1;
  return [{ kind: "paragraph", text: lines.slice(at, end).map((line) => line.trim()).join("\n") }, end];
}

function draw(block, words) {
  switch (block.kind) {
    case "code":
      return drawCode(block, words);
    case "heading":
      return h(`h${Math.min(6, block.level + 2)}`, {}, inline(block.text));
    case "rule":
      return h("hr");
    case "table":
      return drawTable(block);
    case "quote":
      return h("blockquote", {}, block.blocks.map((inner) => draw(inner, words)));
    case "list":
      return drawList(block, words);
    default:
      return h("p", {}, inline(block.text));
  }
}

function drawCode({ language, text }, words) {
  const head = h("figcaption", {}, h("span", {}, language || "text"), copyButton(() => text, words));
  return h("figure", { class: "code" }, head, h("pre", { tabindex: "0" }, h("code", {}, text)));
}

function drawTable({ head, rows }) {
  const line = (tag, texts) => h("tr", {}, texts.map((text) => h(tag, {}, inline(text))));
  const body = rows.map((row) => line("td", row));
  return h("div", { class: "wide", tabindex: "0" }, h("table", {}, h("thead", {}, line("th", head)), h("tbody", {}, body)));
}

function drawList({ isOrdered, start, items }, words) {
  const drawn = items.map((blocks) => h("li", {}, blocks.map((block) => draw(block, words))));
  return h(isOrdered ? "ol" : "ul", { start: isOrdered && start !== 1 ? start : null }, drawn);
}

/** The nodes of a line of text with its marks. */
function inline(text, depth = 0) {
  if (depth > DEPTH_MAX || text.length > INLINE_MAX) return [text];
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(...plain(text.slice(at, match.index)), marked(match, depth));
    at = match.index + match[0].length;
  }
  return [...nodes, ...plain(text.slice(at))];
}

function marked(match, depth) {
  const [whole, escaped, , code, bold, bold2, italic, italic2, struck, label, target, address] = match;
  if (escaped !== undefined) return escaped;
  if (code !== undefined) return h("code", {}, code.replace(/^ (.*) $/s, "$1"));
  if (bold ?? bold2) return h("strong", {}, inline(bold ?? bold2, depth + 1));
  if (italic ?? italic2) return h("em", {}, inline(italic ?? italic2, depth + 1));
  if (struck) return h("s", {}, inline(struck, depth + 1));
  if (target) return link(target, inline(label, DEPTH_MAX));
  return address ? link(address, [address]) : whole;
}

/** Only http and https lead anywhere, and where they lead is shown before they do. */
function link(target, content) {
  return h("a", { href: target, title: target, target: "_blank", rel: "noopener noreferrer nofollow" }, content);
}

function plain(text) {
  return text.split("\n").flatMap((line, index) => (index ? [h("br"), line] : [line])).filter((part) => part !== "");
}
