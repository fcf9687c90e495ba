"""Reads outcomes of models for routing: parquet files and prices.csv in one folder.

Columns: id, dataset, task, prompt, in_tokens; for each model M `ok:M` (0..1), where known `out:M`
(tokens written) and `ans:M` (a short key of the answer, `-` is none). prices.csv: model,
usd_per_m_in, usd_per_m_out.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from haneul.auto.outcomes import Outcomes
from haneul.base.errors import CommandError


def names(folder: Path) -> list[str]:
    """The data sets in a folder."""
    return sorted(path.stem for path in folder.glob("*.parquet"))


def load(folder: Path, sets: list[str], *, models: list[str] | None = None) -> Outcomes:
    """The prompts of those sets that lie there, with the models all of them hold."""
    paths = [folder / f"{name}.parquet" for name in sets]
    tables = [parquet.read_table(path) for path in paths if path.exists()]
    if not tables:
        raise CommandError(f"No {' or '.join(sets)}.parquet in the folder.")
    prices = _prices(folder / "prices.csv")
    shared = _shared(tables, "ok:")
    chosen = [name for name in shared if name in prices and (models is None or name in models)]
    if not chosen:
        raise CommandError("No model of these sets has a price in prices.csv.")
    has_tokens = set(chosen) <= set(_shared(tables, "out:"))
    has_answers = set(chosen) <= set(_shared(tables, "ans:"))
    good = _columns(tables, "ok:", chosen)
    return Outcomes(
        models=chosen,
        prompts=_joined(tables, "prompt"),
        tasks=[
            f"{dataset}/{task}"
            for dataset, task in zip(
                _joined(tables, "dataset"), _joined(tables, "task"), strict=True
            )
        ],
        good=good,
        tokens_in=np.array(_joined(tables, "in_tokens"), float),
        tokens_out=_columns(tables, "out:", chosen) if has_tokens else np.zeros_like(good),
        usd_per_token_in=np.array([prices[name][0] for name in chosen]) / 1e6,
        usd_per_token_out=np.array([prices[name][1] for name in chosen]) / 1e6,
        answers=_answers(tables, chosen) if has_answers else None,
    )


def _prices(path: Path) -> dict[str, tuple[float, float]]:
    with path.open(newline="") as file:
        return {
            row["model"]: (float(row["usd_per_m_in"]), float(row["usd_per_m_out"]))
            for row in csv.DictReader(file)
        }


def _shared(tables: list[Any], prefix: str) -> list[str]:
    first = [name for name in tables[0].column_names if name.startswith(prefix)]
    held = [name for name in first if all(name in one.column_names for one in tables)]
    return [name.removeprefix(prefix) for name in held]


def _joined(tables: list[Any], column: str) -> list[Any]:
    return [value for table in tables for value in table[column].to_pylist()]


def _columns(tables: list[Any], prefix: str, models: list[str]) -> np.ndarray[Any, Any]:
    return np.stack([np.array(_joined(tables, prefix + name), float) for name in models], axis=1)


def _answers(tables: list[Any], models: list[str]) -> np.ndarray[Any, Any]:
    found = np.stack([np.array(_joined(tables, "ans:" + name), str) for name in models], axis=1)
    _, keys = np.unique(found, return_inverse=True)
    return np.where(found == "-", -1, keys.reshape(found.shape))
