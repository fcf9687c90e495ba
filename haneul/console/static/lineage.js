// The family tree of a model as a picture: parents to the left, derivatives to the right.

import { draw, h } from "./dom.js";
import { bytes, sharePercent } from "./format.js";
import { knows, t } from "./i18n.js";

const WIDTH = 232;
const HEIGHT = 76;
const GAP_X = 56;
const GAP_Y = 14;

/** A scrollable picture of the tree, with what hangs on its subject in words below it. */
export function familyTree(tree) {
  const places = [];
  const lines = [];
  const rows = Math.max(leaves(tree.up), leaves(tree.down), 1);
  const subject = place(tree.subject, depth(tree.up), (rows - 1) / 2, places, "subject");
  grow(tree.up, subject, -1, (rows - leaves(tree.up)) / 2, places, lines);
  grow(tree.down, subject, 1, (rows - leaves(tree.down)) / 2, places, lines);
  const width = (Math.max(...places.map((each) => each.column)) + 1) * (WIDTH + GAP_X) - GAP_X;
  const height = rows * (HEIGHT + GAP_Y) - GAP_Y;
  const picture = draw(
    "svg",
    { viewBox: `-2 -2 ${width + 4} ${height + 4}`, width: width + 4, height: height + 4, class: "family", role: "img", "aria-label": words(tree) },
    lines.map(([from, to]) => line(from, to)),
    places.map(box),
  );
  return h("div", {}, h("div", { class: "family-frame", tabindex: "0", role: "group", "aria-label": t("family") }, picture), hanging(tree.breaks));
}

/** How many rows the ends of the branches need. */
function leaves(nodes) {
  return nodes.reduce((sum, node) => sum + Math.max(1, leaves(node.others)), 0);
}

function depth(nodes) {
  return nodes.reduce((most, node) => Math.max(most, 1 + depth(node.others)), 0);
}

function place(node, column, row, places, kind) {
  const at = { node, column, row, kind, x: column * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y) };
  places.push(at);
  return at;
}

function grow(nodes, from, direction, top, places, lines) {
  let row = top;
  for (const node of nodes) {
    const size = Math.max(1, leaves(node.others));
    const at = place(node, from.column + direction, row + (size - 1) / 2, places, "other");
    lines.push(direction > 0 ? [from, at] : [at, from]);
    grow(node.others, at, direction, row, places, lines);
    row += size;
  }
}

function line(from, to) {
  const [x, y] = [from.x + WIDTH, from.y + HEIGHT / 2];
  const [end, below] = [to.x, to.y + HEIGHT / 2];
  const middle = (x + end) / 2;
  return draw("path", { d: `M${x} ${y}C${middle} ${y} ${middle} ${below} ${end} ${below}`, class: "family-line" });
}

function box({ node, x, y, kind }) {
  const marks = node.aliases.map((alias) => `@${alias}`).join(" ");
  const facts = [node.relation && relation(node), node.loss === null ? "" : t("family_loss", { share: sharePercent(node.loss) })];
  const last = [node.licence ?? t("licence_unknown"), node.bytes === null ? "" : bytes(node.bytes)];
  return draw(
    "g", { class: `family-node ${kind} ${node.is_withdrawn ? "withdrawn" : ""}`, transform: `translate(${x} ${y})` },
    draw("title", {}, [node.name, node.source, node.is_withdrawn ? t("withdrawn") : ""].filter(Boolean).join("\n")),
    draw("rect", { width: WIDTH, height: HEIGHT, rx: 10 }),
    label(22, "family-name", shortened(node.name, marks ? 24 - marks.length : 26), marks),
    label(43, "family-facts", node.is_withdrawn ? t("withdrawn") : facts.filter(Boolean).join(" · ") || node.source),
    label(62, "family-facts", last.filter(Boolean).join(" · ")),
  );
}

function label(y, kind, text, marks = "") {
  return draw("text", { x: 12, y, class: kind }, text, marks ? draw("tspan", { class: "family-alias", dx: 6 }, marks) : null);
}

function relation(node) {
  const said = node.relation.split(", ").map((each) => (knows(`relation_${each}`) ? t(`relation_${each}`) : each));
  return said.join(", ");
}

/** Its beginning and its end: a revision's digits stand at the end. */
function shortened(text, most) {
  if (text.length <= most) return text;
  const end = Math.floor(most / 2);
  return `${text.slice(0, Math.ceil(most) - end - 1)}…${text.slice(-end)}`;
}

function words(tree) {
  const names = (nodes) => nodes.flatMap((node) => [node.name, ...names(node.others)]);
  return t("family_words", { model: tree.subject.name, up: names(tree.up).join(", ") || t("nothing"), down: names(tree.down).join(", ") || t("nothing") });
}

function hanging(breaks) {
  if (!breaks.length) return h("p", { class: "hint" }, t("family_free"));
  return h("div", { class: "hint" }, h("p", {}, t("family_breaks")), h("ul", {}, breaks.map((each) => h("li", {}, each))));
}
