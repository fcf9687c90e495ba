"""Evaluation through a gateway: metered, resumed, judged; with engines that fail on demand."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys

import msgspec
import pytest

from haneul.base import http
from haneul.base.errors import BadRequest, CommandError, QuotaExceeded
from haneul.quality import board, judge, run, suite
from haneul.quality.gateway import ATTEMPTS, Gateway, retry_wait_s
from haneul.services import routes
from haneul.store import evals
from haneul.store import routes as route_queries
from haneul.testing.engine import Faults
from haneul.testing.served import Served, answer_whole, body_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
HANEUL = [sys.executable, "-m", "haneul"]
SETTINGS = """format = 1
name = "mine"
version = "1.0"
licence = "CC0-1.0"
language = ["en"]
task = "Which word comes first"
[parameters]
max_tokens = 1
[[checks]]
kind = "exact"
[judge]
rubric = "Which is better?"
pairs = "pairs.jsonl"
"""


class Judge(Served):
    """An engine that prefers what is called good, wherever it stands; and counts."""

    asked = 0

    async def app(self, scope, receive, send):
        body = await body_of(receive)
        if scope["method"] == "GET":
            await answer_whole(send, 200, b'{"object":"list","data":[]}')
            return
        self.asked += 1
        text = json.loads(body)["messages"][-1]["content"]
        letter = "A" if text.index("good") < text.index("bad") else "B"
        choice = {"index": 0, "message": {"role": "assistant", "content": letter}}
        usage = {"prompt_tokens": 9, "completion_tokens": 1}
        await answer_whole(send, 200, msgspec.json.encode({"choices": [choice], "usage": usage}))


@pytest.fixture
def folder(tmp_path):
    """A suite of six cases, of which an engine that says "one" passes four."""
    (tmp_path / "suite.toml").write_text(SETTINGS)
    words = ["one", "one", "two", "one", "three", "one"]
    cases = [
        {"id": f"c{n}", "prompt": f"Number {n}?", "expected": word, "reference": "bad"}
        for n, word in enumerate(words)
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    pairs = [
        {"id": str(n), "question": f"q{n}", "better": f"good {n}", "worse": f"bad {n}"}
        for n in range(6)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return tmp_path


def gateway(cloud, key, **options):
    async def charged(tag):
        await cloud.cloud.ledger.flush()
        return await cloud.cloud.database.ask(functools.partial(evals.charged, since_us=0), tag)

    to = http.Address("127.0.0.1", cloud.cloud.port)
    return Gateway(to, key=key.secret, charged=charged, pause_s=0.01, **options)


async def carried_out(cloud, key, order):
    """The run, how often something was asked anew, and the board."""
    database, asked = cloud.cloud.database, []
    to = gateway(cloud, key)
    try:
        begun = await database.call(run.begin, order)
        await run.carry_out(
            begun, to, database, lambda job, row, was_known: asked.append(not was_known)
        )
    finally:
        await to.aclose()
    row = await database.ask(evals.run, begun.id)
    return begun, sum(asked), await database.ask(board.of_run, row)


async def test_every_answer_is_metered_and_costs_what_the_ledger_says(cloud, key, folder):
    good = await cloud.add_engine(words=["one"])
    bad = await cloud.add_engine(words=["no"])
    order = run.Order(suite=suite.read(folder), models=[good.models[0], bad.models[0]])
    _, asked, found = await carried_out(cloud, key, order)
    assert asked == 12
    assert [(line.passed, line.cases) for line in found.lines] == [(4, 6), (0, 6)]
    first, second = found.lines
    assert first.quality.low < 4 / 6 < first.quality.high
    rows = await cloud.rows(key.key.id)
    assert sum(line.cost_nano for line in found.lines) == sum(row.cost_nano for row in rows) > 0
    assert {row.app for row in rows} == {"haneul-eval"}
    assert first.good_nano.mid == pytest.approx(first.cost_nano / 4)
    assert second.good_nano is None
    assert first.is_pareto
    assert (found.compared[0].only_first, found.compared[0].only_second) == (4, 0)
    assert found.compared[0].p == 0.125
    assert board.cheapest(found.lines, 0.6).model == good.models[0]
    assert board.cheapest(found.lines, 0.9).model is None


async def test_what_is_known_is_not_asked_again_unless_it_is_wanted(cloud, key, folder):
    engine = await cloud.add_engine(words=["one"])
    order = run.Order(suite=suite.read(folder), models=engine.models, limit=3)
    assert (await carried_out(cloud, key, order))[1] == 3
    wider = msgspec.structs.replace(order, limit=None)
    assert (await carried_out(cloud, key, wider))[1] == 3
    assert (await carried_out(cloud, key, wider))[1] == 0
    assert (await carried_out(cloud, key, msgspec.structs.replace(wider, fresh=True)))[1] == 6
    assert engine.seen.requests == 12


async def test_refusals_are_no_wrong_answers_and_are_asked_again_later(cloud, key, folder):
    engine = await cloud.add_engine(words=["one"], status=503)
    order = run.Order(suite=suite.read(folder), models=engine.models, limit=2)
    _, asked, found = await carried_out(cloud, key, order)
    (line,) = found.lines
    assert (asked, line.cases, line.unanswered, line.quality) == (2, 0, 2, None)
    cases = await cloud.cloud.database.ask(
        board.cases_of_run,
        (await cloud.cloud.database.ask(evals.runs))[0],
        False,
    )
    assert {case.state for case in cases} == {"unanswered"}
    engine.faults = Faults()
    _, asked, found = await carried_out(cloud, key, order)
    assert (asked, found.lines[0].unanswered, found.lines[0].cases) == (2, 0, 2)


async def test_what_a_judge_lost_without_a_price_is_counted(cloud, key, folder):
    async def charged(tag):
        return None

    engine, broken = await cloud.add_engine(words=["one"]), await cloud.add_engine(garbage=True)
    measured = judge.Measured(
        model=broken.models[0],
        version="v",
        terms="t",
        pairs=1,
        right=1,
        wrong=0,
        undecided=0,
        accuracy=None,
        cost_nano=0,
    )
    order = run.Order(suite=suite.read(folder), models=engine.models, judge=measured, limit=1)
    to = Gateway(
        http.Address("127.0.0.1", cloud.cloud.port), key=key.secret, charged=charged, pause_s=0.01
    )
    rows = []
    try:
        begun = await cloud.cloud.database.call(run.begin, order)
        await run.carry_out(begun, to, cloud.cloud.database, lambda job, row, _: rows.append(row))
    finally:
        await to.aclose()
    assert [(row.state, row.unpriced) for row in rows] == [("unanswered", 2 * ATTEMPTS)]


def row_of(number, state, **fields):
    return evals.ResultRow(
        id=f"evl_cost_{number}",
        run_id="evr_cost",
        case_id="case of cost",
        model="m",
        model_digest="d",
        parameters="p",
        state=state,
        score_millionths=0,
        attempts=1,
        currency="USD",
        latency_us=None,
        created_us=number,
        **fields,
    )


async def test_what_was_lost_before_an_answer_is_part_of_its_cost(cloud):
    async def holding(row):
        await cloud.cloud.database.call(evals.add_result, row)
        find = functools.partial(evals.results, model_digest="d", parameters="p")
        return (await cloud.cloud.database.ask(find, ["case of cost"]))["case of cost"]

    await holding(row_of(1, "unanswered", cost_nano=2000, unpriced=1))
    found = await holding(row_of(2, "unanswered", cost_nano=3000, judge_nano=7))
    assert (found.state, found.cost_nano, found.judge_nano) == ("unanswered", 5000, 7)
    found = await holding(row_of(3, "passed", cost_nano=100))
    assert (found.state, found.cost_nano, found.judge_nano) == ("passed", 5100, 7)
    assert (found.unpriced, found.attempts) == (1, 3)
    found = await holding(row_of(4, "failed", cost_nano=200))
    assert (found.state, found.cost_nano, found.unpriced) == ("failed", 200, 0)
    found = await holding(row_of(5, "unanswered", cost_nano=40))
    assert (found.state, found.cost_nano) == ("failed", 240)


async def test_a_route_that_was_put_anew_is_asked_anew(cloud, key, folder):
    one = await cloud.add_engine(words=["one"])
    two = await cloud.add_engine(words=["two"])
    order = run.Order(suite=suite.read(folder), models=["best"], limit=2)

    async def asked(*members):
        route = routes.row_of(routes.parse("best", members, ()))
        await cloud.cloud.database.call(route_queries.put, route)
        await cloud.cloud.roster.refresh()
        _, count, found = await carried_out(cloud, key, order)
        return count, found.lines[0].passed

    assert await asked(one.models[0]) == (2, 2)
    assert await asked(two.models[0]) == (2, 0)
    assert (await asked(one.models[0], two.models[0]))[0] == 2
    assert (await asked(one.models[0], two.models[0]))[0] == 0, "it leads where it led"
    assert await asked(two.models[0]) == (0, 0), "known by its own name"


async def test_models_stand_on_one_board_only_if_they_were_asked_on_the_same_terms(
    cloud, key, folder
):
    engines = [await cloud.add_engine(words=["one"]) for _ in range(2)]
    read, database = suite.read(folder), cloud.cloud.database
    old, new = [
        msgspec.structs.replace(await database.call(run.begin, order), id=f"evr_terms_{number}")
        for number, order in enumerate(
            run.Order(suite=read, models=engine.models) for engine in engines
        )
    ]
    row = (await database.ask(evals.runs))[0]
    subjects = [msgspec.structs.replace(old.subjects[0], parameters="of another day")]
    await database.call(
        evals.add_run,
        msgspec.structs.replace(
            row, id=old.id, subjects=msgspec.json.encode(subjects).decode(), created_us=1
        ),
    )
    to = gateway(cloud, key)
    try:
        await run.carry_out(
            msgspec.structs.replace(old, subjects=subjects), to, database, lambda *_: None
        )
        await run.carry_out(new, to, database, lambda *_: None)
    finally:
        await to.aclose()
    found = await database.ask(board.of_suite, "mine")
    shown = {line.model for line in found.lines}
    assert engines[1].models[0] in shown
    assert engines[0].models[0] not in shown


async def test_an_answer_is_asked_for_only_so_often(cloud, key):
    engine = await cloud.add_engine(garbage=True)
    to = gateway(cloud, key)
    said = await to.ask(
        engine.models[0], [{"role": "user", "content": "x"}], suite.Parameters(), name="evl_x"
    )
    await to.aclose()
    assert said.answer is None
    assert said.attempts == ATTEMPTS
    assert said.unpriced == 0


async def test_what_was_lost_in_time_is_paid_and_counted(cloud, key):
    engine = await cloud.add_engine(words=["one"], delay_s=30)
    to = gateway(cloud, key, deadline_s=0.2)
    said = await to.ask(
        engine.models[0], [{"role": "user", "content": "x"}], suite.Parameters(), name="evl_y"
    )
    await to.aclose()
    assert (said.answer, said.error, said.attempts) == (None, "deadline_exceeded", ATTEMPTS)


async def test_an_empty_purse_and_an_unknown_model_end_the_run(cloud, key, folder):
    engine = await cloud.add_engine(words=["one"])
    order = run.Order(suite=suite.read(folder), models=engine.models)
    poor = await cloud.make_key(budget="0")
    with pytest.raises(QuotaExceeded):
        await carried_out(cloud, poor, order)
    with pytest.raises(CommandError, match="never-here"):
        await carried_out(cloud, key, msgspec.structs.replace(order, models=["never-here"]))
    found = await cloud.cloud.database.ask(board.of_suite, "mine")
    assert "never-here" not in [line.model for line in found.lines]


async def test_a_judge_is_measured_once_and_believed_only_if_it_is_better_than_a_coin(
    cloud, key, folder
):
    read, database = suite.read(folder), cloud.cloud.database
    constant = await cloud.add_engine(words=["A"])
    engine = await cloud.add_engine(words=["one"])
    async with Judge() as fair:
        await cloud.put_engine("fair", fair.url, ("fair-judge",))
        to = gateway(cloud, key)
        try:
            with pytest.raises(BadRequest, match="undecided in 6"):
                await run.measured_judge(read, constant.models[0], to, database)
            found = await run.measured_judge(read, "fair-judge", to, database)
            assert (found.right, found.wrong, found.undecided, fair.asked) == (6, 0, 0, 12)
            assert found.cost_nano > 0
            order = run.Order(suite=read, models=engine.models, judge=found, limit=1)
            await database.call(run.begin, order)
            again = await run.measured_judge(read, "fair-judge", to, database)
            assert (again, fair.asked) == (found, 12)
            for answers, score in ((("good", "bad"), 1.0), (("bad", "good"), 0.0)):
                said = await judge.opinion(to, "fair-judge", "r", "q", answers, name="j")
                assert said.score == score
        finally:
            await to.aclose()


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [(b"2", 2), (b"1.5", 1.5), (b"Wed, 21 Oct 2026 07:28:00 GMT", 0), (b"", 0), (b"-1", 0)],
)
async def test_a_retry_after_of_any_form_is_retried(header, wait_s):
    assert retry_wait_s(header) == wait_s


async def command(cloud, *arguments, code=0):
    """A `haneul eval` of its own process on this cloud's home."""
    environ = {**os.environ, "HANEUL_HOME": str(cloud.cloud.config.home), "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        *(*HANEUL, "eval", *arguments),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, wrong = await process.communicate()
    assert process.returncode == code, (out, wrong)
    return out.decode() or wrong.decode()


async def test_a_killed_run_goes_on_where_it_was(cloud, folder):
    engine = await cloud.add_engine(words=["one"], delay_s=0.3)
    arguments = ("run", str(folder), "--models", engine.models[0], "--concurrency", "1", "--json")
    environ = {**os.environ, "HANEUL_HOME": str(cloud.cloud.config.home)}
    first = await asyncio.create_subprocess_exec(
        *(*HANEUL, "eval", *arguments), env=environ, stdout=asyncio.subprocess.DEVNULL
    )
    await cloud.until(lambda: engine.seen.requests >= 4, 30, "three are answered")
    first.kill()
    await first.wait()
    engine.delay_s = 0
    before = engine.seen.requests
    found = json.loads(await command(cloud, *arguments))
    assert found["board"]["lines"][0]["passed"] == 4
    assert engine.seen.requests - before <= 3
    assert engine.seen.requests <= 7
    shown = await command(cloud, "show", found["run"], "--failed")
    assert "none of the expected texts" in shown
    told = await command(cloud, "board", str(folder))
    assert "BARGAIN" in told
    assert told == await command(cloud, "board", "mine")
    assert "The cheapest that passes" in told
    audit = await cloud.cloud.database.ask(
        lambda connection: connection.exec_driver_sql(
            "SELECT count(*) FROM audit WHERE action = 'eval.run'"
        ).scalar()
    )
    assert audit >= 2


async def test_commands_say_what_is_not_there(cloud, tmp_path):
    assert "no suite 'nothing'" in await command(cloud, "show", "nothing", code=1)
    assert "was never run here" in await command(cloud, "board", "code", code=1)
    assert "there is no run" in await command(cloud, "show", "evr_x", code=1)
    listed = json.loads(await command(cloud, "list", "--json"))
    assert len(listed["suites"]) == 6


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_real_small_model_is_evaluated_at_the_cost_in_the_ledger(cloud, smollm2):
    target = await cloud.cloud.serve(str(smollm2))
    arguments = ("run", "classification", "--models", target.model, "--limit", "2", "--json")
    found = json.loads(await command(cloud, *arguments))
    (line,) = found["board"]["lines"]
    assert (line["cases"], line["unanswered"], line["unpriced"]) == (2, 0, 0)
    assert line["version"] == target.digest
    assert line["cost_nano"] > 0
    assert line["p50_s"] > 0
    cases = json.loads(await command(cloud, "show", found["run"], "--json"))["cases"]
    rows = [await cloud.row(case["request_id"]) for case in cases]
    assert sum(row.cost_nano for row in rows) == line["cost_nano"]
    assert all(row.model == target.model for row in rows)
