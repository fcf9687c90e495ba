"""How a board looks in a terminal: a table, the best bargains as a picture, what is sure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from haneul.base.units import NANO, show_duration
from haneul.cli.show import print_table
from haneul.quality.board import PER, SURE, Asked, Board, Choice, Line
from haneul.quality.statistics import Compared, Interval

WIDE, HIGH = 56, 9  # characters of the picture
MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLUMNS = (
    *("", "MODEL", ">PASSED", ">QUALITY", ">SCORE", ">COST OF 1K REQUESTS", ">P50", ">P95"),
    *(">COST PER GOOD ANSWER", "BARGAIN"),
)


def print_board(board: Board, *, choice: Choice | None = None) -> None:
    """The whole board, and the cheapest model that is good enough where one was looked for."""
    rows = [_row(mark, line) for mark, line in zip(_marks(board.lines), board.lines, strict=True)]
    print_table(COLUMNS, rows, empty="No model was asked.")
    for line in board.lines:
        _say(line)
    picture = pareto(board.lines)
    if picture:
        click.echo("\n" + "\n".join(picture))
    click.echo("\nIntervals are of 95 %: Wilson's of shares, by drawing templates again of costs.")
    for pair in board.compared:
        click.echo(_told(pair))
    if len(board.compared) > 1:
        click.echo(f"p is adjusted for {len(board.compared)} pairs (Holm).")
    if board.judge is not None:
        found = board.judge
        click.echo(
            f"The judge {found.model} is right in {found.right} of {found.pairs} labelled pairs "
            f"({percent(found.accuracy)}), undecided in {found.undecided}."
        )
    if choice is not None:
        click.echo(_chosen(choice))


def print_cases(cases: Sequence[Asked]) -> None:
    """Case by case what each model made of it."""
    print_table(
        ("CASE", ">LEVEL", "MODEL", "STATE", "WHY NOT", "ANSWER"),
        [
            (case.name, str(case.level), case.model, case.state, case.reason or "", _line(case))
            for case in cases
        ],
        empty="Nothing to show.",
    )


def percent(interval: Interval | None) -> str:
    """'42.0 % (33.1–51.4)'."""
    if interval is None:
        return "unknown"
    high = 1.0 if interval.high is None else interval.high
    return f"{interval.mid:.1%} ({100 * interval.low:.1f}–{100 * high:.1f})".replace("%", " %", 1)


def money(interval: Interval | None, currency: str) -> str:
    """'USD 0.0123 (0.0110–0.0140)'."""
    if interval is None:
        return "unknown"
    digits = _digits(interval.mid / NANO)
    low, mid = (f"{nano / NANO:.{digits}f}" for nano in (interval.low, interval.mid))
    high = "no bound" if interval.high is None else f"{interval.high / NANO:.{digits}f}"
    return f"{currency} {mid} ({low}–{high})"


def pareto(lines: Sequence[Line]) -> list[str]:
    """Quality against the cost of a thousand requests; bargains as letters, others small."""
    shown = [
        (mark, line, line.quality.mid, line.thousand_nano.mid / NANO)
        for mark, line in zip(_marks(lines), lines, strict=True)
        if line.quality and line.thousand_nano and line.thousand_nano.mid > 0
    ]
    if len(shown) < 2:
        return []
    costs = [math.log(cost) for *_, cost in shown]
    least, span = min(costs), (max(costs) - min(costs)) or 1.0
    grid = [[" "] * WIDE for _ in range(HIGH + 1)]
    for (mark, line, quality, _), cost in zip(shown, costs, strict=True):
        column = round((cost - least) / span * (WIDE - 1))
        grid[HIGH - round(quality * HIGH)][column] = mark if line.is_pareto else mark.lower()
    edge = [
        f"{100 * (HIGH - row) / HIGH:4.0f} % │{''.join(cells)}" for row, cells in enumerate(grid)
    ]
    first, last = (f"{math.exp(cost):.2g}" for cost in (min(costs), max(costs)))
    axis = f"{first}{last.rjust(WIDE - len(first))}"
    currency = shown[0][1].currency
    return [
        *edge,
        "       └" + "─" * WIDE,
        f"        {axis} {currency} per {PER:,} requests; capitals: nothing is better and cheaper",
    ]


def _row(mark: str, line: Line) -> tuple[str, ...]:
    return (
        mark,
        line.model,
        f"{line.passed} of {line.cases}",
        percent(line.quality),
        percent(line.score),
        money(line.thousand_nano, line.currency),
        "unknown" if line.p50_s is None else show_duration(line.p50_s),
        "unknown" if line.p95_s is None else show_duration(line.p95_s),
        money(line.good_nano, line.currency) if line.passed else "no answer passed",
        "yes" if line.is_pareto else "",
    )


def _say(line: Line) -> None:
    """What a table has no room for."""
    if line.unanswered:
        click.echo(f"{line.model}: {line.unanswered} cases got no answer, and count as none.")
    if line.missing:
        click.echo(f"{line.model}: {line.missing} cases are not asked yet.")
    if line.unpriced:
        click.echo(f"{line.model}: the cost of {line.unpriced} lost attempts is unknown.")
    if line.levels:
        parts = (f"{level}: {good} of {count}" for level, (good, count) in line.levels.items())
        click.echo(f"{line.model} by level  {', '.join(parts)}")


def _told(pair: Compared) -> str:
    better = pair.first if pair.only_first > pair.only_second else pair.second
    verdict = f"{better} is better" if pair.adjusted_p < SURE else "no difference is shown"
    return (
        f"{pair.first} against {pair.second} on {pair.cases} cases: {pair.only_first} to "
        f"{pair.only_second} passed by one alone, p {pair.adjusted_p:.3g} ({pair.method}): "
        f"{verdict}"
    )


def _chosen(choice: Choice) -> str:
    if choice.model is None:
        return f"No model passes {choice.wanted:.0%}." if choice.wanted else "No model passes any."
    how = "surely" if choice.is_sure else "likely, its interval reaches below"
    return f"The cheapest that passes {choice.wanted:.0%}: {choice.model} ({how})."


def _line(case: Asked) -> str:
    text = " ".join((case.answer or "").split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def _digits(amount: float) -> int:
    """Decimals that show three digits of it."""
    return 2 if amount <= 0 else max(2, 2 - math.floor(math.log10(amount)))


def _marks(lines: Sequence[Line]) -> list[str]:
    return [MARKS[index % len(MARKS)] for index in range(len(lines))]
