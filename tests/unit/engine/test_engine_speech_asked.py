"""What a job needs that a kernel lacks."""

import pytest

from haneul.engine.speech.asked import lacking
from haneul.engine.worker.job import Job

LACKS = ["biases", "logprobs", "repeat_penalty"]


def job(**fields):
    return Job(prompt=[1], **fields)


@pytest.mark.parametrize("fields", [{}, {"biases": []}, {"logprobs": None}, {"logprobs": 0}])
def test_what_is_not_asked_for_is_not_lacking(fields):
    assert lacking(job(**fields), LACKS) is None


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"biases": [(5, 1.0)]}, "biases"), ({"logprobs": 2}, "logprobs")],
)
def test_the_first_field_that_is_lacking_is_named(fields, name):
    assert lacking(job(**fields), LACKS) == name
    assert lacking(job(**fields), []) is None
