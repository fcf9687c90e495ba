"""The bench of routing reads the format it documents and tells a router from a coin."""

from __future__ import annotations

import csv

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from bench.routing import measure
from bench.routing_data import load
from haneul.base.errors import CommandError
from tests.unit.auto.made_up import outcomes


def written(folder, *, count, seed):
    """A folder with the outcomes of a known rule, as the set llmrouter8."""
    folder.mkdir()
    made = outcomes(count, seed=seed)
    columns = {
        "id": [str(at) for at in range(count)],
        "dataset": ["made"] * count,
        "task": made.tasks,
        "prompt": made.prompts,
        "in_tokens": made.tokens_in,
    }
    for at, model in enumerate(made.models):
        columns[f"ok:{model}"] = made.good[:, at]
        columns[f"out:{model}"] = made.tokens_out[:, at]
        keys = made.answers[:, at]
        columns[f"ans:{model}"] = ["-" if key == 7 else str(key) for key in keys]
    parquet.write_table(arrow.table(columns), folder / "llmrouter8.parquet")
    with (folder / "prices.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "usd_per_m_in", "usd_per_m_out"])
        for at, model in enumerate(made.models):
            price = 1e6 * made.usd_per_token_in[at]
            writer.writerow([model, price, price])
    return folder


def test_outcomes_are_read_as_they_were_written(tmp_path):
    read = load(written(tmp_path / "fit", count=60, seed=1), ["llmrouter8"])
    made = outcomes(60, seed=1)
    assert read.models == made.models
    assert read.prompts == made.prompts
    assert (read.good == made.good).all()
    assert read.cost_usd == pytest.approx(made.cost_usd)
    assert ((read.answers < 0) == (made.answers == 7)).all()


def test_fitted_on_one_folder_and_judged_on_another_it_beats_a_coin(tmp_path):
    fitted = written(tmp_path / "fit", count=300, seed=1)
    judged = written(tmp_path / "judge", count=200, seed=2)
    rows = {row.get("way"): row for row in measure("llmrouter", fitted, judged, 2)}
    assert rows[None]["prompts"] == 200
    assert rows["haneul"]["c95"] < 0.8 * rows["random mix"]["c95"]
    assert rows["haneul with pairs"]["best"] >= rows["haneul"]["best"] - 0.05
    assert rows["oracle"]["best"] >= rows["haneul"]["best"]


def test_a_set_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CommandError, match="llmrouter8"):
        load(tmp_path, ["llmrouter8"])
