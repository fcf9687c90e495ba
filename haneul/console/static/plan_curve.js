// Throughput of a chip against the speed one user sees, as a picture with its numbers in words.

import { draw, h } from "./dom.js";
import { count } from "./format.js";
import { t } from "./i18n.js";
import { figure } from "./plan_numbers.js";

const WIDTH = 680;
const HEIGHT = 320;
const LEFT = 64;
const BOTTOM = 48;
const TOP = 26;
const RIGHT = 18;

/** The curve with the answer's batch marked; `points` go from the slowest user to the fastest. */
export function curvePicture(points, option) {
  if (!points.length) return h("p", { class: "hint" }, t("unknown"));
  const across = scaleOf(Math.max(...points.map((each) => each.user_tokens_per_s)));
  const up = scaleOf(Math.max(...points.map((each) => each.chip_tokens_per_s)));
  const x = (value) => LEFT + (value / across.top) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / up.top) * (HEIGHT - BOTTOM - TOP);
  const places = points.map((each) => [x(each.user_tokens_per_s), y(each.chip_tokens_per_s), each]);
  const picture = draw(
    "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plan-curve", role: "img", "aria-label": words(points) },
    across.ticks.map((value) => [
      draw("line", { class: "grid", x1: x(value), x2: x(value), y1: TOP, y2: HEIGHT - BOTTOM }),
      draw("text", { x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, figure(value)),
    ]),
    up.ticks.map((value) => [
      draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      draw("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, figure(value)),
    ]),
    draw("text", { x: WIDTH - RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, t("plan_axis_user")),
    draw("text", { x: 4, y: 14 }, t("plan_axis_chip")),
    draw("polyline", { points: places.map(([left, top]) => `${left.toFixed(1)},${top.toFixed(1)}`).join(" ") }),
    places.map(([left, top, each]) => {
      const isChosen = each.batch === option.batch;
      return draw("circle", { cx: left.toFixed(1), cy: top.toFixed(1), r: isChosen ? 7 : 4, class: isChosen ? "chosen" : null }, draw("title", {}, pointWords(each)));
    }),
  );
  return h("figure", { class: "plan-frame", tabindex: "0", role: "group", "aria-label": t("plan_curve") }, picture);
}

/** Up to six round steps from zero, and where the axis ends. */
function scaleOf(most) {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let value = 0; value <= most * 1.001; value += step) ticks.push(value);
  return { ticks, top: Math.max(most, ticks.at(-1)) * 1.02 };
}

function pointWords(point) {
  return t("plan_point", { users: count(point.batch), user: figure(point.user_tokens_per_s), chip: figure(point.chip_tokens_per_s) });
}

function words(points) {
  return `${t("plan_curve")}: ${[points[0], points[Math.floor(points.length / 2)], points.at(-1)].map(pointWords).join("; ")}`;
}
