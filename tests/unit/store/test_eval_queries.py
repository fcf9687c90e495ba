"""What evaluation keeps: suites once, the newest result of each case, what the ledger charged."""

from __future__ import annotations

import functools

import pytest

from haneul.base.ids import new_id
from haneul.store import evals, ledger
from haneul.store.evals import CaseRow, ResultRow, RunRow, SuiteRow
from haneul.store.ledger import RequestRow


def result(case, at_us, state="passed", **more):
    terms = {"model": "m", "model_digest": "d", "parameters": "p", "currency": "USD"}
    terms |= {"score_millionths": 0, "attempts": 1, "cost_nano": 1, "run_id": "r"} | more
    return ResultRow(id=new_id("evl"), case_id=case, state=state, created_us=at_us, **terms)


def request(name, cost_nano, at_us):
    return RequestRow(
        id=new_id("req"),
        key_id="k",
        route="chat",
        state="done",
        status=200,
        currency="USD",
        cost_nano=cost_nano,
        received_us=at_us,
        finished_us=at_us,
        end_user=name,
    )


def found(database, ids, model_digest="d", parameters="p"):
    find = functools.partial(evals.results, model_digest=model_digest, parameters=parameters)
    return database.run(find, ids)


def test_a_suite_and_its_cases_are_written_down_once(database):
    row = SuiteRow(
        id="s1", name="s", version="1.0", licence="CC0-1.0", task="t", cases=2, created_us=5
    )
    cases = [
        CaseRow(id=f"c{n}", suite="s", name=f"n{n}", cluster="k", body="{}", created_us=5)
        for n in range(1200)
    ]
    for _ in range(2):
        database.run(evals.put_suite, row, cases)
    assert database.run(evals.suites) == [row]
    assert database.run(evals.suite, "s1") == row
    assert database.run(evals.suite, "s2") is None
    ids = [case.id for case in cases]
    assert database.run(evals.cases, [*ids, "other"]) == {case.id: case for case in cases}


def test_the_newest_result_holds_and_an_answer_goes_before_none(database):
    rows = [
        result("a", 1, "failed"),
        result("a", 2),
        result("b", 1),
        result("b", 2, "unanswered"),
        result("c", 1, "unanswered"),
        result("d", 1, model_digest="other"),
        result("e", 1, parameters="other"),
    ]
    for row in rows:
        database.run(evals.add_result, row)
    held = found(database, ["a", "b", "c", "d", "e", "f"])
    assert {case: row.id for case, row in held.items()} == {
        "a": rows[1].id,
        "b": rows[2].id,
        "c": rows[4].id,
    }
    assert held["b"].attempts == rows[2].attempts + rows[3].attempts, "what was lost is paid too"
    assert found(database, ["d"], model_digest="other") == {"d": rows[5]}


def test_runs_are_listed_newest_first_of_all_suites_or_of_one(database):
    rows = [
        RunRow(
            id=f"r{n}",
            suite_id="s1",
            suite="one" if n % 2 else "two",
            subjects="[]",
            cases="[]",
            actor="me",
            created_us=n,
        )
        for n in range(4)
    ]
    for row in rows:
        database.run(evals.add_run, row)
    assert [row.id for row in database.run(evals.runs)] == ["r3", "r2", "r1", "r0"]
    only = database.run(functools.partial(evals.runs, suite="one"))
    assert [row.id for row in only] == ["r3", "r1"]
    assert database.run(evals.run, "r2") == rows[2]
    assert database.run(evals.run, "r9") is None


@pytest.mark.parametrize(("since_us", "charged"), [(0, 7), (3, 5), (9, None)])
def test_what_was_charged_is_summed_since_a_moment(database, since_us, charged):
    rows = [request("evl_a.0", 2, 2), request("evl_a.0", 5, 4), request("evl_b.0", 9, 4)]
    database.run(ledger.append, rows)
    assert database.run(functools.partial(evals.charged, since_us=since_us), "evl_a.0") == charged
