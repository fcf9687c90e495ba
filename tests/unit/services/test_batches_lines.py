"""The lines of a batch's file: whatever it holds, each line is read as it is or is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haneul.services.batches import lines
from haneul.services.batches.states import CANCELLABLE, MOVES, OPEN, before

URL = "/v1/chat/completions"
NO_RESET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(path, data):
    path.write_bytes(data)
    return lines.check(path, URL, line_max_bytes=4096)


def told(custom_id, text, ending="\n"):
    body = {"model": "m", "text": text}
    line = {"custom_id": custom_id, "method": "POST", "url": URL, "body": body}
    return json.dumps(line, ensure_ascii=False) + ending


@NO_RESET
@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]))))
def test_every_line_is_found_again_byte_for_byte(tmp_path, said):
    path = tmp_path / "in"
    texts = [told(str(at), text, ending) for at, (text, ending) in enumerate(said)]
    found = check(path, "".join(texts).encode())
    assert [problem.code for problem in found.problems] == ([] if said else ["empty_file"])
    assert found.total == len(said)
    for at, (text, _) in enumerate(said):
        line, model = lines.read_line(lines.read_at(path, found, at + 1))
        assert (line.custom_id, model) == (str(at), "m")
        assert json.loads(bytes(line.body))["text"] == text


@NO_RESET
@given(st.binary(max_size=300))
def test_any_bytes_are_lines_or_problems(tmp_path, data):
    found = check(tmp_path / "in", data)
    assert found.problems
    assert all(problem.message for problem in found.problems)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (told("a", "x" * 5000), "line_too_large"),
        (told("", "x"), "invalid_request"),
        (told("a", "x") * 2, "duplicate_custom_id"),
        (told("a", "x").replace('"m"', "7"), "invalid_request"),
        (told("a", "x").replace('"body"', '"bodies"'), "invalid_request"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(tmp_path, data, code):
    assert [problem.code for problem in check(tmp_path / "in", data.encode()).problems] == [code]


def test_every_state_of_a_batch_leads_to_an_end():
    ended = MOVES.keys() - OPEN
    assert ended == {"failed", "completed", "expired", "cancelled"}
    for state in OPEN:
        reached, seen = {state}, set()
        while reached - seen:
            seen |= reached
            reached |= {later for each in reached for later in MOVES[each]}
        assert reached & ended
    assert {"validating", "in_progress"} == CANCELLABLE
    assert before("completed") == {"finalizing"}
