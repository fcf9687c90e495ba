"""Throughput of a chip against the speed that one user sees: a list, a plot in text, an SVG."""

from __future__ import annotations

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


def plot_text(points: Sequence[Point]) -> list[str]:
    """Lines of a plot: up is more for a chip, right is faster for a user."""
    if not points:
        return []
    right = max(point.user_tokens_per_s for point in points)
    top = max(point.chip_tokens_per_s for point in points)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for point in points:
        column = round(point.user_tokens_per_s / right * (WIDTH - 1))
        row = round((1 - point.chip_tokens_per_s / top) * (HEIGHT - 1))
        grid[row][column] = "*"
    lines = [
        f"{'' if number else f'{top:,.0f}':>9} |{''.join(row)}".rstrip()
        for number, row in enumerate(grid)
    ]
    label = "tok/s of one user"
    return [
        "tok/s of one chip",
        *lines,
        f"{'0':>9} +{'-' * WIDTH}",
        f"{'':>11}0{label:^{WIDTH - 8}}{right:>7,.0f}",
    ]


def plot_svg(points: Sequence[Point], *, title: str) -> str:
    """The same as an SVG document, with the numbers of each point as its title."""
    right = max((point.user_tokens_per_s for point in points), default=1.0)
    top = max((point.chip_tokens_per_s for point in points), default=1.0)
    wide, high = SVG_WIDTH - 2 * MARGIN, SVG_HEIGHT - 2 * MARGIN
    places = [
        (
            MARGIN + point.user_tokens_per_s / right * wide,
            SVG_HEIGHT - MARGIN - point.chip_tokens_per_s / top * high,
            point,
        )
        for point in points
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{point.batch} users: '
        f"{point.user_tokens_per_s:.1f} tok/s each, {point.chip_tokens_per_s:,.0f} tok/s a chip"
        "</title></circle>"
        for x, y, point in places
    )
    base, left = SVG_HEIGHT - MARGIN, MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_WIDTH} {SVG_HEIGHT}" '
        'font-family="sans-serif" font-size="13">'
        f'<text x="{left}" y="24">{_escaped(title)}</text>'
        f'<path d="M{left},{MARGIN} V{base} H{SVG_WIDTH - MARGIN}" fill="none" stroke="#888"/>'
        f'<polyline points="{path}" fill="none" stroke="#2b6cb0" stroke-width="2"/>'
        f'<g fill="#2b6cb0">{dots}</g>'
        f'<text x="{left}" y="{MARGIN - 8}">{top:,.0f} tok/s of one chip</text>'
        f'<text x="{SVG_WIDTH - MARGIN}" y="{base + 20}" text-anchor="end">'
        f"{right:,.0f} tok/s of one user</text></svg>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
