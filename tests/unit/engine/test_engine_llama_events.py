"""What llama-server says, recorded from b11549, and what becomes of it."""

import json

import pytest

from haneul.base.errors import BadRequest, ContextTooLong, EngineFailed, Unavailable
from haneul.engine.chat import merge_call
from haneul.engine.completions import Scores
from haneul.engine.kernel import ScoredToken
from haneul.engine.llama_server.events import chat_piece, refusal, text_piece


def error(code, message, kind="server_error", **more):
    return json.dumps({"error": {"code": code, "message": message, "type": kind, **more}}).encode()


def test_the_progress_of_a_prompt_is_no_piece():
    event = {
        "choices": [{"finish_reason": None, "delta": {"role": "assistant", "content": None}}],
        "timings": {"cache_n": 0, "prompt_n": 128, "predicted_n": 0},
        "prompt_progress": {"total": 831, "cache": 0, "processed": 128, "time_ms": 549},
    }
    assert chat_piece(json.dumps(event).encode()) is None


def test_counts_are_taken_from_the_timings():
    event = {
        "choices": [{"finish_reason": None, "index": 0, "delta": {"content": "'m"}}],
        "timings": {"cache_n": 26, "prompt_n": 6, "predicted_n": 2},
    }
    piece = chat_piece(json.dumps(event).encode())
    assert piece is not None
    assert (piece.text, piece.prompt_tokens, piece.cached_tokens) == ("'m", 32, 26)
    assert piece.completion_tokens == 2


@pytest.mark.parametrize(
    ("stop_type", "reason"), [("limit", "length"), ("eos", "stop"), ("word", "stop")]
)
def test_the_kernels_reasons_to_stop_become_openais(stop_type, reason):
    event = {"content": "", "stop": True, "stop_type": stop_type, "timings": {"predicted_n": 3}}
    piece = text_piece(json.dumps(event).encode())
    assert piece is not None
    assert piece.finish_reason == reason


def test_a_picture_is_the_callers_fault_though_the_kernel_says_500():
    told = refusal(500, error(500, "image input is not supported - hint: provide the mmproj"))
    assert (type(told), told.status) == (BadRequest, 400)


def test_a_failed_computation_is_not():
    told = refusal(500, error(500, "Compute error."))
    assert (type(told), told.status) == (EngineFailed, 502)


def test_a_prompt_too_long_tells_both_counts():
    message = "request (5031 tokens) exceeds the available context size (4096 tokens)"
    more = {"n_prompt_tokens": 5031, "n_ctx": 4096}
    told = refusal(400, error(400, message, "exceed_context_size_error", **more))
    assert isinstance(told, ContextTooLong)
    assert told.facts == {"prompt_tokens": 5031, "context_tokens": 4096}


def test_a_busy_kernel_says_when_to_come_back():
    told = refusal(503, error(503, "Loading model", "unavailable_error"))
    assert isinstance(told, Unavailable)
    assert told.retry_after_s


def test_no_path_of_the_machine_is_shown():
    told = refusal(400, error(400, "cannot open /srv/someone/x.gguf"))
    assert "someone" not in told.message


def test_what_is_no_json_is_the_kernels_fault():
    assert refusal(500, b"<html>").status == 502


def test_an_impossible_token_has_a_number():
    event = {
        "content": "a",
        "timings": {"predicted_n": 1},
        "completion_probabilities": [{"token": "a", "bytes": [97], "logprob": None}],
    }
    piece = text_piece(json.dumps(event).encode())
    assert piece is not None
    assert piece.scores[0].logprob == -9999.0


def test_the_parts_of_a_tool_call_become_one():
    calls: dict = {}
    for part in (
        {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 0, "function": {"arguments": "1}"}},
        {"index": 1, "id": "y", "function": {"name": "g", "arguments": "{}"}},
    ):
        merge_call(calls, part)
    assert calls[0] == {
        "id": "x",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":1}'},
    }
    assert calls[1]["function"]["name"] == "g"


def test_the_place_of_a_score_counts_characters_also_across_a_cut_letter():
    scores = Scores(0)
    for raw in (b"a", b"\xc3", b"\xa9", b"b"):
        scores.add(ScoredToken(token="", bytes=list(raw), logprob=-1.0))
    told = scores.take()
    assert told["tokens"] == ["a", "bytes:\\xc3", "bytes:\\xa9", "b"]
    assert told["text_offset"] == [0, 1, 1, 2]
