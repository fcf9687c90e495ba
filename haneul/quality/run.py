"""One run: cases asked of models through the gateway, several at a time, each result kept at once.

What was answered before, of the same version of a model, the same case and the same parameters, is
not asked again: so a run that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, ModelNotFound
from haneul.base.ids import new_id
from haneul.base.units import MILLION, now_us
from haneul.models import revisions
from haneul.quality import checks, judge, looking, sandbox
from haneul.quality.checks import AnyCheck, Verdict, bad
from haneul.quality.gateway import Gateway, Said
from haneul.quality.judge import Measured, Opinion
from haneul.quality.looking import Answer, Asked
from haneul.quality.suite import Case, Suite, digest_of
from haneul.store import evals
from haneul.store import models as model_queries
from haneul.store import routes as route_queries
from haneul.store.database import Database
from haneul.store.evals import CaseRow, ResultRow, RunRow, SuiteRow

AT_ONCE_MAX = 64
ANSWER_MAX_CHARS = 65_536  # of an answer that are kept
REASON_MAX_CHARS = 300
LOOKING = 3  # that checks mean the same as when an answer was looked at: raised when they change
UNANSWERED = "unanswered"
UNREADABLE = (OverflowError, ValueError, RecursionError)  # what an answer beyond all bounds causes
OnResult = Callable[["Job", ResultRow, bool], None]  # and whether it was there before


class Subject(Struct, frozen=True):
    """One model as it is asked in a run."""

    model: str
    digest: str  # of its version; name:… where none is known
    parameters: str  # digest of how it is asked and judged


class Job(Struct, frozen=True):
    """One case to be asked of one model."""

    subject: Subject
    case: Case
    case_id: str


class Order(Struct, frozen=True, kw_only=True):
    """What somebody wants to be evaluated."""

    suite: Suite
    models: Sequence[str]
    limit: int | None = None  # cases, spread over the suite
    at_once: int = 4
    judge: Measured | None = None
    fresh: bool = False  # asked again, whatever is known
    actor: str = ""


class Listed(Struct, frozen=True):
    """A case of a run, as the run's row lists it."""

    id: str  # its digest
    name: str
    cluster: str
    level: int


class Begun(Struct, frozen=True):
    """A run that is written down and may be carried out."""

    id: str
    order: Order
    cases: list[Case]
    subjects: list[Subject]


def spread(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """So many cases at even distances, so that every part of a suite has its share."""
    if limit is None or limit >= len(cases):
        return list(cases)
    return [cases[index * len(cases) // limit] for index in range(limit)]


def begin(connection: Connection, order: Order) -> Begun:
    """Writes down the suite, its cases and the run. Raises BadRequest, ModelNotFound."""
    if len(set(order.models)) != len(order.models) or not order.models:
        raise BadRequest("name each model once")
    suite, cases = order.suite, spread(order.suite.cases, order.limit)
    judged_by = order.judge and [order.judge.version, order.judge.terms]
    terms = [suite.parameters, judged_by, LOOKING]
    subjects = [Subject(name, version(connection, name), digest_of(terms)) for name in order.models]
    now = now_us()
    row = SuiteRow(
        id=suite.digest,
        name=suite.name,
        version=suite.version,
        licence=suite.licence,
        task=suite.task,
        cases=len(suite.cases),
        created_us=now,
    )
    evals.put_suite(connection, row, [_case_row(suite, case, now) for case in cases])
    run = RunRow(
        id=new_id("evr"),
        suite_id=row.id,
        suite=suite.name,
        subjects=msgspec.json.encode(subjects).decode(),
        cases=msgspec.json.encode([_listed(suite, case) for case in cases]).decode(),
        judge=None if order.judge is None else msgspec.json.encode(order.judge).decode(),
        actor=order.actor,
        created_us=now,
    )
    evals.add_run(connection, run)
    return Begun(run.id, order, cases, subjects)


async def measured_judge(suite: Suite, model: str, gateway: Gateway, store: Database) -> Measured:
    """How good a judge is, as it was measured before or now. Raises BadRequest for a bad one."""
    if suite.rubric is None:
        raise BadRequest(f"{suite.name} has no [judge]: nothing says how its answers are compared")
    its_version, terms = await store.ask(version, model), judge.terms_of(suite.rubric, suite.pairs)
    find = functools.partial(evals.runs, suite=suite.name)
    before = [run.judge for run in await store.ask(find) if run.judge]
    known = [msgspec.json.decode(text, type=Measured) for text in before]
    same = [each for each in known if (each.version, each.terms) == (its_version, terms)]
    found = (
        same[0]
        if same
        else await judge.measure(
            gateway, model, suite.rubric, suite.pairs, version=its_version, name=new_id("evj")
        )
    )
    judge.check_believed(found)
    return found


async def carry_out(begun: Begun, gateway: Gateway, store: Database, on_result: OnResult) -> None:
    """Asks what is missing. Raises CommandError and QuotaExceeded; it may be begun again then."""
    jobs = iter(await _missing(begun, store, on_result))

    async def work() -> None:
        for job in jobs:  # shared: each takes the next
            row = await _result(begun, job, gateway)
            await store.call(evals.add_result, row)
            on_result(job, row, False)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(begun.order.at_once, AT_ONCE_MAX)):
                group.create_task(work())
    except ExceptionGroup as several:
        raise several.exceptions[0] from several


async def _missing(begun: Begun, store: Database, on_result: OnResult) -> list[Job]:
    """What has to be asked, the models in turns."""
    ids = [begun.order.suite.case_digest(case) for case in begun.cases]
    known = {}
    for subject in begun.subjects:
        find = functools.partial(
            evals.results, model_digest=subject.digest, parameters=subject.parameters
        )
        known[subject.model] = {} if begun.order.fresh else await store.ask(find, ids)
    missing = []
    for case, case_id in zip(begun.cases, ids, strict=True):
        for subject in begun.subjects:
            job, row = Job(subject, case, case_id), known[subject.model].get(case_id)
            if row is not None and row.state != UNANSWERED:
                on_result(job, row, True)
            else:
                missing.append(job)
    return missing


async def _result(begun: Begun, job: Job, gateway: Gateway) -> ResultRow:
    suite, result_id = begun.order.suite, new_id("evl")
    said = await gateway.ask(
        job.subject.model,
        _messages(suite, job.case),
        suite.parameters,
        name=result_id,
        tools=job.case.tools or None,
    )
    judge_nano, state, verdict = 0, UNANSWERED, Verdict(False, 0.0, said.error)
    if said.answer is not None:
        verdict = await looked_at(suite, job.case, said.answer)
        state = "passed" if verdict.is_passed else "failed"
        if verdict.is_passed and begun.order.judge and job.case.reference:
            verdict, opinion, state = await _judged(begun, job, said.answer, gateway, result_id)
            judge_nano = opinion.cost_nano
            said = msgspec.structs.replace(said, unpriced=said.unpriced + opinion.unpriced)
    return _row(begun.id, job, said, verdict, state, result_id, judge_nano)


async def looked_at(suite: Suite, case: Case, answer: Answer) -> Verdict:
    """What all checks of a case say of an answer: all must pass, the score is their mean."""
    verdicts = []
    for check in suite.checks_of(case):
        if isinstance(check, checks.UnitTest):
            ran = await sandbox.run_tests(
                looking.code_of(answer.text), case.tests or "", deadline_s=check.deadline_s
            )
            verdicts.append(ran.verdict())
        else:
            verdicts.append(await asyncio.to_thread(_look, check, case.asked(), answer))
    reasons = [verdict.reason for verdict in verdicts if verdict.reason]
    return Verdict(
        all(verdict.is_passed for verdict in verdicts),
        sum(verdict.score for verdict in verdicts) / len(verdicts),
        "; ".join(reasons) or None,
    )


def _look(check: AnyCheck, asked: Asked, answer: Answer) -> Verdict:
    """What one check says; an answer that cannot be looked at has failed, and ends no run."""
    try:
        return looking.look(check, asked, answer)
    except UNREADABLE as cause:
        return bad(f"it cannot be looked at: {type(cause).__name__}")


async def _judged(
    begun: Begun, job: Job, answer: Answer, gateway: Gateway, name: str
) -> tuple[Verdict, Opinion, str]:
    """What the judge makes of an answer that passed the checks, what it said, and the state."""
    said = await judge.opinion(
        gateway,
        begun.order.judge.model if begun.order.judge else "",
        begun.order.suite.rubric or "",
        job.case.question,
        (answer.text[:ANSWER_MAX_CHARS], job.case.reference or ""),
        name=f"{name}.judge",
    )
    if not said.is_complete:
        return Verdict(False, 0.0, "the judge did not answer"), said, UNANSWERED
    if said.score == 0.0:
        verdict = Verdict(False, 0.0, "the judge finds the reference better")
        return verdict, said, "failed"
    return Verdict(True, said.score), said, "passed"


def _messages(suite: Suite, case: Case) -> list[dict[str, str]]:
    before = [{"role": "system", "content": suite.system}] if suite.system else []
    if case.prompt is not None:
        return [*before, {"role": "user", "content": case.prompt}]
    return [*before, *({"role": each.role, "content": each.content} for each in case.messages)]


def _row(
    run_id: str,
    job: Job,
    said: Said,
    verdict: Verdict,
    state: str,
    result_id: str,
    judge_nano: int,
) -> ResultRow:
    details = said.usage.completion_tokens_details
    return ResultRow(
        id=result_id,
        run_id=run_id,
        case_id=job.case_id,
        model=job.subject.model,
        model_digest=job.subject.digest,
        parameters=job.subject.parameters,
        state=state,
        score_millionths=round(verdict.score * MILLION),
        reason=verdict.reason[:REASON_MAX_CHARS] if verdict.reason else None,
        answer=said.answer.text[:ANSWER_MAX_CHARS] if said.answer is not None else None,
        attempts=said.attempts,
        unpriced=said.unpriced,
        currency=said.currency,
        cost_nano=said.cost_nano,
        judge_nano=judge_nano,
        latency_us=said.latency_us,
        prompt_tokens=said.usage.prompt_tokens,
        completion_tokens=said.usage.completion_tokens or 0,
        reasoning_tokens=(details.reasoning_tokens or 0) if details else 0,
        request_id=said.request_id,
        created_us=now_us(),
    )


def _listed(suite: Suite, case: Case) -> Listed:
    return Listed(suite.case_digest(case), case.id, case.cluster or case.id, case.level)


def _case_row(suite: Suite, case: Case, now: int) -> CaseRow:
    return CaseRow(
        id=suite.case_digest(case),
        suite=suite.name,
        name=case.id,
        cluster=case.cluster or case.id,
        body=msgspec.json.encode(case).decode(),
        created_us=now,
    )


def version(connection: Connection, name: str) -> str:
    """The digest of the file that a name means here, or the name itself for an engine elsewhere.

    A route is what it leads to: that model where it is one, else a digest of all that it names, so
    that no answer is taken for its own after it was put anew.
    """
    route = next((row for row in route_queries.every(connection) if row.name == name), None)
    if route is None:
        return _model_version(connection, name)
    members = msgspec.json.decode(route.members, type=list[tuple[str, int | None]])
    further = [
        msgspec.json.decode(text, type=list[str]) for text in (route.fallbacks, route.scarce)
    ]
    if len(members) == 1 and not any(further):
        return _model_version(connection, members[0][0])
    weighed = [(_model_version(connection, model), weight) for model, weight in members]
    named = [[_model_version(connection, model) for model in models] for models in further]
    return f"route:{digest_of([weighed, named])}"


def _model_version(connection: Connection, name: str) -> str:
    if (row := model_queries.get(connection, name)) is not None:
        return row.digest
    try:
        return revisions.resolve(connection, name).digest
    except (BadRequest, ModelNotFound):
        return f"name:{name}"
