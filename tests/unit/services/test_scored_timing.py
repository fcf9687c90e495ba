"""Which requests of the ledger say how fast an engine is, and what each says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.services.scored.timing import (
    BESIDE,
    COMPANY,
    KEPT_PROMPT,
    SHORT,
    UNCOUNTED,
    UNFINISHED,
    UNSTEADY,
    WHOLE,
    Level,
    timed,
)
from haneul.store.deployments import ServedRow

SECOND = 1_000_000


def request(at_s: float = 0.0, **changed: object) -> ServedRow:
    """100 prompt tokens read in a second, 51 tokens made in the next 5 seconds."""
    begin = round(at_s * SECOND)
    known = {
        "id": f"req_{begin}",
        "digest": "d",
        "engine_version": "v",
        "chip": "c",
        "state": "done",
        "is_stream": 1,
        "metering": "engine",
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "completion_tokens": 51,
        "started_us": begin,
        "first_token_us": begin + SECOND,
        "finished_us": begin + 6 * SECOND,
    }
    return ServedRow(**(known | changed))  # type: ignore[arg-type]


def test_a_request_alone_says_how_fast_answers_and_prompts_are():
    (one,) = timed([request()])
    assert (one.streams, one.decode, one.ttft_s) == (1, pytest.approx(10), pytest.approx(1))
    assert one.prompt_tokens == 100
    assert one.behind_tokens == 125.5
    assert one.left_out == {}


@pytest.mark.parametrize("streams", [2, 4])
def test_requests_that_go_side_by_side_are_compared_with_the_forecast_for_as_many(streams):
    found = timed([request(id=f"req_{number}") for number in range(streams)])
    assert [one.streams for one in found] == [streams] * streams
    assert [one.decode for one in found] == [pytest.approx(10 * streams)] * streams
    assert {one.left_out["ttft"] for one in found} == {COMPANY}


def test_where_the_number_of_others_changes_nothing_is_said():
    first, second = timed([request(), request(3.5)])
    assert first.left_out["decode"] == second.left_out["decode"] == UNSTEADY
    assert first.ttft_s is not None, "its prompt was read alone"
    assert second.ttft_s is None


def test_another_model_on_the_chip_disturbs_and_one_on_another_chip_does_not():
    one, _ = timed([request(), request(digest="other")])
    assert one.left_out == {"decode": BESIDE, "ttft": COMPANY}
    one, _ = timed([request(), request(chip="far")])
    assert one.left_out == {}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"state": "aborted"}, UNFINISHED),
        ({"is_stream": 0}, WHOLE),
        ({"first_token_us": None}, WHOLE),
        ({"metering": "counted"}, UNCOUNTED),
    ],
)
def test_what_cannot_be_timed_is_left_out_with_the_reason(changed, reason):
    (one,) = timed([request(**changed)])
    assert one.left_out == {"decode": reason, "ttft": reason}
    assert one.decode is one.ttft_s is None


def test_a_short_answer_says_nothing_of_decoding_and_a_kept_prompt_nothing_of_reading():
    (one,) = timed([request(completion_tokens=3)])
    assert one.left_out == {"decode": SHORT}
    (one,) = timed([request(cached_tokens=90)])
    assert one.left_out == {"ttft": KEPT_PROMPT}


intervals = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=12)


@given(intervals, st.integers(0, 100), st.integers(0, 100))
def test_the_average_inside_is_the_sum_of_all_overlaps_over_the_time(stays, begin, end):
    overlap = sum(max(0, min(to, end) - max(at, begin)) for at, to in stays if to > at)
    mean = Level(stays).mean(begin, end)
    assert mean == pytest.approx(overlap / (end - begin) if end > begin else 0.0)


@given(st.integers(0, 10**9), st.integers(1, 6))
def test_when_it_was_does_not_matter(at_s, streams):
    rows = [request(at_s, id=f"req_{number}") for number in range(streams)]
    assert {(one.streams, round(one.decode or 0)) for one in timed(rows)} == {
        (streams, 10 * streams)
    }
