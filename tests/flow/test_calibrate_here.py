"""`haneul plan calibrate --here --measure` runs real engines, one after another."""

from __future__ import annotations

import json

from click.testing import CliRunner

from haneul.cli.main import haneul


def run(home, *words):
    settings = {"HANEUL_HOME": str(home), "HANEUL_SLOTS": "2", "HANEUL_CONTEXT_TOKENS": "256"}
    answer = CliRunner().invoke(haneul, [*words, "--json"], env=settings)
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout)


def test_models_that_were_not_measured_are_and_their_forecasts_are_scored(tmp_path, tiny_model):
    run(tmp_path, "pull", str(tiny_model))
    first = run(tmp_path, "plan", "calibrate", "--here", "--measure", "--busy")
    (probed,) = first["measured"]
    assert probed["speeds"]["decode"] > 0
    assert probed["memory_bytes"] > 1e6
    assert {each["kind"] for each in first["result"]["figures"]} == {
        "decode",
        "capacity",
        "prefill",
    }
    scored = run(tmp_path, "plan", "backtest", "--here")
    rows = {(each["row"]["kind"], each["row"]["streams"]): each for each in scored["rows"]}
    assert set(rows) == {("decode", 1), ("decode", 2), ("prefill", 1), ("memory", 2)}
    assert rows["decode", 1]["row"]["measured"] > 0
    again = run(tmp_path, "plan", "calibrate", "--here", "--measure", "--busy")
    assert [each["said"] for each in again["measured"]] == ["was measured before"]
