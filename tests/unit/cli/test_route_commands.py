"""The commands of routing: routes, and engines that are own hardware or share prefixes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from haneul.base.units import now_us
from haneul.cli.main import haneul
from haneul.cli.usage import trace_lines
from haneul.services.choice import REASONS
from haneul.store import audit
from haneul.store.database import open_database
from haneul.store.ledger import RequestRow

PRICES = "--price-in 0.1 --price-out 0.4"


@pytest.fixture
def run(tmp_path):
    def run(line, *, code=0):
        environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == code, done.output
        return done

    return run


def test_a_route_is_set_listed_replaced_and_removed(run, tmp_path):
    assert "chat leads to a, b, then c." in run("routes set chat a b --fallback c").output
    (shown,) = json.loads(run("routes ls --json").output)
    assert [each["model"] for each in shown["members"]] == ["a", "b"]
    assert shown["fallbacks"] == ["c"]
    run("routes set chat a=3 b=1")
    table = run("routes ls").output
    assert "a=3, b=1" in table
    assert "none" in table
    assert json.loads(run("routes rm chat --json").output) == {"removed": "chat"}
    assert "No routes" in run("routes ls").output
    run("routes rm chat", code=1)
    opened = open_database("", tmp_path)
    try:
        actions = [row.action for row in opened.run(audit.recent, 10)]
    finally:
        opened.close()
    assert sorted(actions) == ["route.remove", "route.set", "route.set"]


def test_members_that_are_not_here_are_said(run):
    run(f"engines add near http://127.0.0.1:1 --model m {PRICES}")
    told = json.loads(run("routes set chat near/m m elsewhere --json").output)
    assert told["not_here"] == ["elsewhere"]


@pytest.mark.parametrize("line", ["chat", "chat a=x", "chat a a", "chat=1 a", "chat a=0"])
def test_a_wrong_route_is_refused(run, line):
    run(f"routes set {line}", code=2 if line == "chat" else 1)
    assert "No routes" in run("routes ls").output


def test_an_engine_is_own_hardware_or_shares_prefixes_where_that_is_said(run):
    run(f"engines add plain http://127.0.0.1:1 --model m {PRICES}")
    run(f"engines add own http://127.0.0.1:1 --model m {PRICES} --own-slots 8 --shares-prefixes")
    found = {each["name"]: each for each in json.loads(run("engines ls --json").output)}
    assert (found["plain"]["own_slots"], found["plain"]["shares_prefixes"]) == (None, 0)
    assert (found["own"]["own_slots"], found["own"]["shares_prefixes"]) == (8, 1)


@pytest.mark.parametrize(
    ("routed", "saved_nano", "said"),
    [
        ("only", None, "the only one"),
        ("cheapest", 5_000_000, "the cheapest; the next would have cost USD 0.005"),
        ("spilled", -5_000_000, "less"),
        (None, None, "unknown"),
    ],
)
def test_a_trace_says_why_this_engine(routed, saved_nano, said):
    row = RequestRow(
        id="req_1",
        key_id="k",
        route="chat",
        state="done",
        status=200,
        currency="USD",
        received_us=now_us(),
        finished_us=now_us(),
        routed=routed,
        saved_nano=saved_nano,
    )
    assert routed is None or routed in REASONS
    lines = dict(trace_lines(row, None, "key"))
    assert said in lines["chosen"]
