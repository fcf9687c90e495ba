"""Which requests say how fast an engine is: those whose company is known from the ledger itself.

The ledger has when each request went into an engine, when its first token came and when it ended.
From that follows how many others were inside at every moment, of the same engine and of others on
the chip, so a request is compared with the forecast for just as many, or left out with the reason.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from msgspec import Struct

from haneul.base.units import MILLION
from haneul.store.deployments import ServedRow

ANSWER_LEAST = 16  # tokens: a shorter answer is mostly its first step
PROMPT_LEAST = 64  # tokens that were not in memory: fewer are one short step
ALONE_MOST = 1.02  # requests inside on average, itself among them
STEADY_SHARE = 0.1  # that the number inside may differ from a whole number, of itself
PROMPTS_MOST = 0.1  # share of the time that another prompt may be read meanwhile
UNFINISHED = "did not end well"
WHOLE = "not streamed, so its first token has no time"
UNCOUNTED = "its tokens were not counted by the engine"
SHORT = "too short"
BESIDE = "beside other models"
UNSTEADY = "beside a changing number of others"
KEPT_PROMPT = "its prompt was in memory"
COMPANY = "not alone"


class Timed(Struct, frozen=True, kw_only=True):
    """What one request says; None where it says nothing, with the reason in left_out."""

    row: ServedRow
    streams: int | None = None  # that decoded together; None: not to be compared
    decode: float | None = None  # tok/s of all of them
    behind_tokens: float = 0.0  # of context, in the middle of the answer
    ttft_s: float | None = None  # alone
    prompt_tokens: int = 0  # that were not in memory
    left_out: dict[str, str] = {}  # figure → reason


class Level:
    """How many of some intervals cover a moment, on average over a stretch of time."""

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        steps: dict[int, int] = {}
        for begin, end in intervals:
            if end > begin:
                steps[begin] = steps.get(begin, 0) + 1
                steps[end] = steps.get(end, 0) - 1
        self._times = sorted(steps)
        self._levels = list(accumulate(steps[at] for at in self._times))
        spans = zip(self._times, self._times[1:], self._levels, strict=False)
        self._areas = [0, *accumulate(level * (to - at) for at, to, level in spans)]

    def mean(self, begin: int, end: int) -> float:
        """The average over [begin, end); 0 for an empty stretch."""
        return (self._area(end) - self._area(begin)) / (end - begin) if end > begin else 0.0

    def _area(self, at: int) -> int:
        index = bisect_right(self._times, at) - 1
        if index < 0:
            return 0
        return self._areas[index] + self._levels[index] * (at - self._times[index])


def timed(rows: Sequence[ServedRow]) -> list[Timed]:
    """Every request of engines on one or more chips, each with what it says."""
    found = []
    for chip in dict.fromkeys(row.chip for row in rows):
        here = [row for row in rows if row.chip == chip]
        inside = Level((row.started_us, row.finished_us) for row in here)
        for engine in dict.fromkeys(map(_engine, here)):
            mine = [row for row in here if _engine(row) == engine]
            own = Level((row.started_us, row.finished_us) for row in mine)
            prompts = Level((row.started_us, _first(row)) for row in mine)
            found += [_timed(row, inside, own, prompts) for row in mine]
    return sorted(found, key=lambda each: each.row.started_us)


def _engine(row: ServedRow) -> tuple[str, str]:
    return row.digest, row.engine_version


def _first(row: ServedRow) -> int:
    return row.first_token_us or row.finished_us


def _timed(row: ServedRow, inside: Level, own: Level, prompts: Level) -> Timed:
    unusable = _unusable(row)
    if unusable:
        return Timed(row=row, left_out={"decode": unusable, "ttft": unusable})
    left_out: dict[str, str] = {}
    streams = _streams(row, inside, own, prompts)
    decode = None
    if isinstance(streams, str):
        left_out["decode"] = streams
    else:
        seconds = (row.finished_us - _first(row)) / MILLION
        decode = streams * (row.completion_tokens - 1) / seconds
    fresh = row.prompt_tokens - row.cached_tokens
    ttft_s = None
    if fresh < PROMPT_LEAST:
        left_out["ttft"] = KEPT_PROMPT if row.prompt_tokens >= PROMPT_LEAST else SHORT
    elif inside.mean(row.started_us, _first(row)) > ALONE_MOST:
        left_out["ttft"] = COMPANY
    else:
        ttft_s = (_first(row) - row.started_us) / MILLION
    return Timed(
        row=row,
        streams=None if isinstance(streams, str) else streams,
        decode=decode,
        behind_tokens=row.prompt_tokens + row.completion_tokens / 2,
        ttft_s=ttft_s,
        prompt_tokens=fresh,
        left_out=left_out,
    )


def _unusable(row: ServedRow) -> str:
    """Why it says nothing at all; "" where it may."""
    if row.state != "done":
        return UNFINISHED
    if not row.is_stream or row.first_token_us is None:
        return WHOLE
    return UNCOUNTED if row.metering != "engine" else ""


def _streams(row: ServedRow, inside: Level, own: Level, prompts: Level) -> int | str:
    """How many answers were made together while this one was; else the reason not to ask."""
    begin, end = _first(row), row.finished_us
    if row.completion_tokens < ANSWER_LEAST or end <= begin:
        return SHORT
    mine, every = own.mean(begin, end), inside.mean(begin, end)
    if every - mine > STEADY_SHARE:
        return BESIDE
    streams = max(1, round(mine))
    if abs(mine - streams) > STEADY_SHARE * streams or prompts.mean(begin, end) > PROMPTS_MOST:
        return UNSTEADY
    return streams
