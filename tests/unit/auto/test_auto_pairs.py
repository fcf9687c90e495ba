"""Pairs of models, where the best of them costs nothing."""

from __future__ import annotations

import msgspec
import numpy as np

from haneul.auto.pairs import worthwhile
from tests.unit.auto.made_up import outcomes


def test_where_the_best_model_is_free_no_pair_saves_anything():
    free = np.array([1e-7, 1e-7, 0.0])
    log = msgspec.structs.replace(
        outcomes(400, seed=3), usd_per_token_in=free, usd_per_token_out=free
    )
    assert log.models[log.best] == "dear"
    assert worthwhile(log) == []


def test_where_it_is_dear_a_pair_does():
    assert worthwhile(outcomes(400, seed=3))
