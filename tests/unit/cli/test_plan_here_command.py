"""`haneul plan backtest --here` and `calibrate --here`, as they are typed."""

from __future__ import annotations

import json

import msgspec
import pytest
from click.testing import CliRunner
from known_shapes import SMOLLM2

from haneul.chips.detect import detect_processor
from haneul.chips.estimate import around
from haneul.cli.main import haneul
from haneul.services.scored.said import Said
from haneul.store import audit, deployments, forecasts, models
from haneul.store.database import open_database
from haneul.store.deployments import DeploymentRow
from haneul.store.forecasts import MeasurementRow
from haneul.store.models import ModelRow


def run(home, *words):
    return CliRunner().invoke(haneul, ["plan", *words], env={"HANEUL_HOME": str(home)})


@pytest.fixture
def home(tmp_path):
    """One model that was foretold at 100 tok/s and 1 GB, and did 50 tok/s in 1.05 GB."""
    chip, digest, version = detect_processor().id, "d" * 64, "xllamacpp 1"
    said = [
        Said(kind="decode", estimate=around(100, "tok/s", factor=1.4, source="test")),
        Said(kind="memory", estimate=around(1e9, "B", factor=1.1, source="test")),
    ]
    deployment = DeploymentRow(
        id="dep_1",
        model="small",
        digest=digest,
        engine="embedded",
        engine_version=version,
        haneul="1",
        chip=chip,
        quantisation="Q4_1",
        slots=1,
        context_tokens=4096,
        said=msgspec.json.encode(said).decode(),
        started_us=1,
    )
    model = ModelRow(
        name="small",
        digest=digest,
        path="small.gguf",
        bytes=1,
        source="test",
        shape=msgspec.json.encode(SMOLLM2).decode(),
        pulled_us=1,
    )
    measured = [
        MeasurementRow(
            id=f"msr_{kind}",
            model="small",
            digest=digest,
            chip=chip,
            engine_version=version,
            kind=kind,
            value=value * 1000,
            unit=unit,
            created_us=2,
        )
        for kind, value, unit in (("decode", 50, "tok/s"), ("memory", 1_050_000_000, "B"))
    ]
    store = open_database("", tmp_path)
    store.run(deployments.add, deployment)
    store.run(models.put, model)
    store.run(forecasts.add_measurements, measured)
    store.close()
    return tmp_path


def test_where_nothing_was_served_there_is_nothing_to_score(tmp_path):
    for home in (tmp_path / "nowhere", tmp_path):
        answer = run(home, "backtest", "--here")
        assert answer.exit_code == 1
        assert "nothing was served here yet" in answer.stderr
    assert "nothing was measured" in run(tmp_path, "calibrate", "--here").stderr


def test_each_forecast_stands_beside_what_was_measured(home):
    text = run(home, "backtest", "--here").stdout
    decode = next(line for line in text.splitlines() if " decode " in line)
    assert all(
        part in decode for part in ("small", "Q4_1", "100 tok/s (71–140)", "50 tok/s", "+100 %")
    )
    assert "memory: 1 forecast, median error 5 %" in text
    assert "holds 1 of 2 figures" in text
    found = json.loads(run(home, "backtest", "--here", "--json").stdout)
    assert [(row["row"]["kind"], row["inside"]) for row in found["rows"]] == [
        ("decode", False),
        ("memory", True),
    ]
    assert found["days"][0]["deployment"] == "dep_1"


def test_a_calibration_says_what_it_changed_and_leaves_a_row(home):
    first = run(home, "calibrate", "--here", "--json")
    (figure,) = json.loads(first.stdout)["result"]["figures"]
    assert (figure["kind"], figure["left_out"], figure["held_out"]) == ("decode", "nothing", None)
    assert figure["decision"] == "taken"
    assert figure["after"] <= figure["uncorrected"]
    store = open_database("", home)
    (noted,) = [row for row in store.run(audit.recent) if row.action == "calibration.add"]
    assert noted.actor.startswith("cli ")
    assert "default decode" in (noted.after or "")
    store.close()
    text = run(home, "calibrate", "--here").stdout
    assert text.splitlines()[0].startswith("KERNEL")


def test_a_file_and_this_installation_are_not_asked_for_together(home, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("id\n")
    assert "leave out --rows" in run(home, "backtest", "--here", "--rows", str(rows)).stderr
    assert "--out FILE" in run(home, "calibrate").stderr
    for odd in (("--measure",), ("--here", "--busy")):
        assert "--busy with --measure" in run(home, "calibrate", *odd).stderr
