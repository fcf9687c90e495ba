"""A log made up by a known rule, and the policy of it."""

from __future__ import annotations

import pytest

from haneul.auto.outcomes import Outcomes
from haneul.auto.policy import Policy, fit
from tests.unit.auto.made_up import outcomes


@pytest.fixture(scope="session")
def log() -> Outcomes:
    return outcomes(600, seed=1)


@pytest.fixture(scope="session")
def policy(log: Outcomes) -> Policy:
    return fit(log)
