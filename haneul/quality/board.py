"""The board of a suite: how good each model is, how sure that is, what a good answer costs.

Cost per good answer is all that was paid - lost attempts, thoughts, the judge - over the answers
that passed. Cases that got no answer are no wrong answers: they are left out of the share and said,
and what they cost is paid all the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.units import MILLION
from haneul.quality import statistics
from haneul.quality.judge import Measured
from haneul.quality.run import UNANSWERED, Listed, Subject
from haneul.quality.statistics import Compared, Interval
from haneul.store import evals
from haneul.store.evals import ResultRow, RunRow

PER = 1000  # requests that a price is said for
ENOUGH = 0.9  # of the best model's share
SURE = 0.05  # of an adjusted p, below which a difference is called one


class Line(Struct, frozen=True, kw_only=True):
    """One model on one suite. Money in nano-units."""

    model: str
    version: str
    cases: int  # that were answered
    missing: int  # not asked yet
    unanswered: int
    passed: int
    quality: Interval | None  # share that passed
    independent: float  # cases that they amount to, by templates
    score: Interval | None  # mean, where checks give parts
    levels: dict[int, tuple[int, int]]  # passed and answered, by how hard
    currency: str
    cost_nano: int
    unpriced: int  # attempts of which the ledger knows nothing
    thousand_nano: Interval | None
    good_nano: Interval | None  # of one answer that passed
    p50_s: float | None
    p95_s: float | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    is_pareto: bool = False  # no other is both better and cheaper


class Board(Struct, frozen=True, kw_only=True):
    """All models that a suite was run with."""

    suite: str
    version: str
    cases: int
    lines: list[Line]
    compared: list[Compared]
    judge: Measured | None = None


class Asked(Struct, frozen=True, kw_only=True):
    """One case of a run and what one model made of it."""

    name: str
    level: int
    cluster: str
    model: str
    state: str  # passed, failed, unanswered; missing: not asked yet
    score: float | None = None
    reason: str | None = None
    answer: str | None = None
    request_id: str | None = None
    cost_nano: int | None = None


class Choice(Struct, frozen=True):
    """The cheapest model that is good enough, and how sure that is."""

    model: str | None
    is_sure: bool  # its whole interval is
    wanted: float


def of_run(connection: Connection, run: RunRow) -> Board:
    """The board of one run."""
    subjects = _subjects(run)
    listed = msgspec.json.decode(run.cases, type=list[Listed])
    found = {subject: _results(connection, subject, listed) for subject in subjects}
    suite = evals.suite(connection, run.suite_id)
    lines = [_line(subject, listed, found[subject]) for subject in subjects]
    return Board(
        suite=run.suite,
        version=suite.version if suite else "unknown",
        cases=len(listed),
        lines=sorted(_with_pareto(lines), key=_rank),
        compared=_compared(listed, found),
        judge=msgspec.json.decode(run.judge, type=Measured) if run.judge else None,
    )


def of_suite(connection: Connection, name: str) -> Board | None:
    """The board of the widest newest run's cases, with every model that was ever asked them so.

    Only models that were asked and looked at on the same terms stand on one board. None where the
    suite was never run.
    """
    runs = evals.runs(connection, suite=name, limit=1000)
    if not runs:
        return None
    newest = max((run for run in runs if run.suite_id == runs[0].suite_id), key=_breadth)
    terms = {subject.parameters for subject in _subjects(newest)}
    subjects: dict[str, Subject] = {}
    for run in runs:
        if run.suite_id == newest.suite_id:
            for subject in _subjects(run):
                if subject.parameters in terms:
                    subjects.setdefault(subject.model, subject)
    encoded = msgspec.json.encode(list(subjects.values())).decode()
    board = of_run(connection, msgspec.structs.replace(newest, subjects=encoded))
    asked = [line for line in board.lines if line.cases + line.unanswered]  # a name may be wrong
    return msgspec.structs.replace(board, lines=asked)


def cases_of_run(connection: Connection, run: RunRow, is_failed: bool) -> list[Asked]:
    """Every case with every model, in the order of the suite; or those that some model failed."""
    subjects = _subjects(run)
    listed = msgspec.json.decode(run.cases, type=list[Listed])
    found = {subject: _results(connection, subject, listed) for subject in subjects}
    every = [
        [_asked(case, subject, found[subject].get(case.id)) for subject in subjects]
        for case in listed
    ]
    return [
        asked
        for together in every
        if not is_failed or any(each.state == "failed" for each in together)
        for asked in together
    ]


def good_enough(lines: Sequence[Line]) -> float:
    """Nine tenths of what the best model passes."""
    return ENOUGH * max((_quality(line, False) for line in lines), default=0.0)


def cheapest(lines: Sequence[Line], wanted: float) -> Choice:
    """The cheapest whose quality is at least so much; a sure one goes before a likely one.

    One that passed nothing is never good enough.
    """
    priced = [line for line in lines if _quality(line, False) and line.thousand_nano]
    for is_sure in (True, False):
        good = [line for line in priced if _quality(line, is_sure) >= wanted]
        if good:
            return Choice(min(good, key=_cost).model, is_sure, wanted)
    return Choice(None, False, wanted)


def _subjects(run: RunRow) -> list[Subject]:
    return msgspec.json.decode(run.subjects, type=list[Subject])


def _results(
    connection: Connection, subject: Subject, listed: list[Listed]
) -> dict[str, ResultRow]:
    ids = [case.id for case in listed]
    return evals.results(
        connection, ids, model_digest=subject.digest, parameters=subject.parameters
    )


def _asked(case: Listed, subject: Subject, row: ResultRow | None) -> Asked:
    if row is None:
        return Asked(
            name=case.name,
            level=case.level,
            cluster=case.cluster,
            model=subject.model,
            state="missing",
        )
    return Asked(
        name=case.name,
        level=case.level,
        cluster=case.cluster,
        model=subject.model,
        state=row.state,
        score=row.score_millionths / MILLION,
        reason=row.reason,
        answer=row.answer,
        request_id=row.request_id,
        cost_nano=row.cost_nano + row.judge_nano,
    )


def _quality(line: Line, is_sure: bool) -> float:
    if line.quality is None:
        return 0.0
    return line.quality.low if is_sure else line.quality.mid


def _cost(line: Line) -> float:
    return line.thousand_nano.mid if line.thousand_nano else float("inf")


def _rank(line: Line) -> tuple[float, float]:
    return (-_quality(line, False), _cost(line))


def _breadth(run: RunRow) -> tuple[int, int]:
    return len(msgspec.json.decode(run.cases)), run.created_us


def _line(subject: Subject, listed: list[Listed], found: dict[str, ResultRow]) -> Line:
    pairs = [(case, found[case.id]) for case in listed if case.id in found]
    answered = [(case, row) for case, row in pairs if row.state != UNANSWERED]
    good = [row.state == "passed" for _, row in answered]
    clusters = [case.cluster for case, _ in answered]
    costs = [float(row.cost_nano + row.judge_nano) for _, row in pairs]
    every = [case.cluster for case, _ in pairs]
    passed = [float(row.state == "passed") for _, row in pairs]
    scores = [row.score_millionths / MILLION for _, row in answered]
    rows = [row for _, row in pairs]
    latencies = sorted(row.latency_us / 1e6 for row in rows if row.latency_us is not None)
    thousand = statistics.mean([PER * cost for cost in costs], every)
    return Line(
        model=subject.model,
        version=subject.digest,
        cases=len(answered),
        missing=len(listed) - len(pairs),
        unanswered=len(pairs) - len(answered),
        passed=sum(good),
        quality=statistics.share(good, clusters),
        independent=statistics.independent(good, clusters),
        score=statistics.mean(scores, clusters),
        levels=_levels(answered),
        currency=next((row.currency for row in rows if row.currency), ""),
        cost_nano=round(sum(costs)),
        unpriced=sum(row.unpriced for row in rows),
        thousand_nano=thousand,
        good_nano=statistics.ratio(costs, passed, every),
        p50_s=at_rank(latencies, 0.5),
        p95_s=at_rank(latencies, 0.95),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens for row in rows),
    )


def _levels(answered: list[tuple[Listed, ResultRow]]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for case, row in sorted(answered, key=lambda pair: pair[0].level):
        passed, count = found.get(case.level, (0, 0))
        found[case.level] = (passed + (row.state == "passed"), count + 1)
    return found


def at_rank(ordered: Sequence[float], share: float) -> float | None:
    """The percentile by nearest rank; None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _with_pareto(lines: list[Line]) -> list[Line]:
    def is_beaten(line: Line) -> bool:
        return not _quality(line, False) or any(
            _quality(other, False) >= _quality(line, False)
            and _cost(other) <= _cost(line)
            and (_quality(other, False), _cost(other)) != (_quality(line, False), _cost(line))
            for other in lines
        )

    return [msgspec.structs.replace(line, is_pareto=not is_beaten(line)) for line in lines]


def _compared(listed: list[Listed], found: dict[Subject, dict[str, ResultRow]]) -> list[Compared]:
    """Each two models, on the cases that both answered."""
    pairs = []
    for one, other in itertools.combinations(found, 2):
        both = [
            (case.cluster, found[one][case.id], found[other][case.id])
            for case in listed
            if case.id in found[one] and case.id in found[other]
        ]
        both = [each for each in both if UNANSWERED not in (each[1].state, each[2].state)]
        if both:
            first = (one.model, [row.state == "passed" for _, row, _ in both])
            second = (other.model, [row.state == "passed" for _, _, row in both])
            clusters = [cluster for cluster, _, _ in both]
            pairs.append(statistics.compare(first, second, clusters))
    adjusted = statistics.holm([pair.p for pair in pairs])
    return [
        msgspec.structs.replace(pair, adjusted_p=p) for pair, p in zip(pairs, adjusted, strict=True)
    ]
