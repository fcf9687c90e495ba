"""Throughput of a chip against the speed that one user sees: a list, a plot in text, an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import HaneulError
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.fit_memory import memory
from haneul.chips.plan.predict import BATCH_MOST, ladder, predict
from haneul.chips.plan.terms import Deployment, Load

WIDTH, HEIGHT = 60, 12  # characters
SVG_WIDTH, SVG_HEIGHT, MARGIN = 640, 360, 60
TICKS = 5  # of an axis, beside zero


class Point(Struct, frozen=True, kw_only=True):
    """One batch: what a user and what a chip get."""

    batch: int
    user_tokens_per_s: float
    chip_tokens_per_s: float


def curve(deployment: Deployment, load: Load, *, planner: Planner) -> list[Point]:
    """The batches that no other beats on both sides, slowest user first. Raises as predict does."""
    free = replace(load, rate=None, ttft_s=None, tpot_s=None)
    most = min(memory(deployment, load).most_users, BATCH_MOST * deployment.dp)
    points = []
    for batch in ladder(max(1, most)):
        try:
            found = predict(deployment, replace(free, batch=batch), planner=planner)
        except HaneulError:
            continue
        points.append(
            Point(
                batch=batch,
                user_tokens_per_s=1 / found.tpot.mid,
                chip_tokens_per_s=found.tokens_per_s_per_chip.mid,
            )
        )
    return pareto(points)


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats, by the speed of the user."""
    kept: list[Point] = []
    ordered = sorted(points, key=lambda it: (-it.user_tokens_per_s, -it.chip_tokens_per_s))
    for point in ordered:
        if not kept or point.chip_tokens_per_s > kept[-1].chip_tokens_per_s:
            kept.append(point)
    return kept[::-1]


def plot_text(points: Sequence[Point], *, chosen: int | None = None) -> list[str]:
    """Lines of a plot: up is more for a chip, right is faster for a user; O is the chosen batch."""
    if not points:
        return []
    right = max(point.user_tokens_per_s for point in points)
    top = max(point.chip_tokens_per_s for point in points)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for point in sorted(points, key=lambda it: it.batch == chosen):
        column = round(point.user_tokens_per_s / right * (WIDTH - 1))
        row = round((1 - point.chip_tokens_per_s / top) * (HEIGHT - 1))
        grid[row][column] = "O" if point.batch == chosen else "*"
    heights = {0: top, HEIGHT // 2: top * (1 - (HEIGHT // 2) / (HEIGHT - 1))}
    lines = [
        f"{f'{heights[number]:,.0f}' if number in heights else '':>9} |{''.join(row)}".rstrip()
        for number, row in enumerate(grid)
    ]
    label = "tok/s of one user"
    is_drawn = any(point.batch == chosen for point in points)
    marked = f" (O: {chosen:,} users at once, the answer)" if is_drawn else ""
    return [
        f"tok/s of one chip{marked}",
        *lines,
        f"{'0':>9} +{'-' * WIDTH}",
        f"{'':>11}0{label:^{WIDTH - 8}}{right:>7,.0f}",
    ]


def plot_svg(points: Sequence[Point], *, title: str, chosen: int | None = None) -> str:
    """The same as an SVG document, with the numbers of each point as its title."""
    right = max((point.user_tokens_per_s for point in points), default=1.0)
    top = max((point.chip_tokens_per_s for point in points), default=1.0)
    wide, high = SVG_WIDTH - 2 * MARGIN, SVG_HEIGHT - 2 * MARGIN
    base, left = SVG_HEIGHT - MARGIN, MARGIN
    places = [
        (
            left + point.user_tokens_per_s / right * wide,
            base - point.chip_tokens_per_s / top * high,
            point,
        )
        for point in points
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    dots = "".join(_dot(x, y, point, is_chosen=point.batch == chosen) for x, y, point in places)
    across = "".join(_tick(left + value / right * wide, base + 18, value) for value in ticks(right))
    up = "".join(
        _tick(left - 8, base - value / top * high + 4, value, anchor="end") for value in ticks(top)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_WIDTH} {SVG_HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><title>{_escaped(title)}</title>'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<path d="M{left},{MARGIN} V{base} H{SVG_WIDTH - MARGIN}" fill="none" stroke="#888"/>'
        f'<polyline points="{path}" fill="none" stroke="#2b6cb0" stroke-width="2"/>'
        f'<g fill="#2b6cb0">{dots}</g><g fill="#555">{across}{up}</g>'
        f'<text x="{left}" y="{MARGIN - 10}">tok/s of one chip</text>'
        f'<text x="{SVG_WIDTH - MARGIN}" y="{base + 38}" text-anchor="end">tok/s of one user</text>'
        "</svg>\n"
    )


def ticks(most: float) -> list[float]:
    """Up to six round numbers from zero."""
    rough = most / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    return [number * step for number in range(int(most / step) + 1)]


def _dot(x: float, y: float, point: Point, *, is_chosen: bool) -> str:
    ring = ' fill="#fff" stroke="#2b6cb0" stroke-width="3"' if is_chosen else ""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if is_chosen else 4}"{ring}><title>'
        f"{point.batch} users: {point.user_tokens_per_s:.1f} tok/s each, "
        f"{point.chip_tokens_per_s:,.0f} tok/s a chip</title></circle>"
    )


def _tick(x: float, y: float, value: float, *, anchor: str = "middle") -> str:
    text = f"{value:,.0f}" if value >= 1 or not value else f"{value:.3g}"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
