"""vLLM's names: its types, its bounds, and nothing that is not known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from haneul.services.gate import Gate
from haneul.services.telemetry.watch import Story
from haneul.services.vllm_names import VllmNames
from haneul.store.ledger import RequestRow


def row(**facts):
    known = {
        **{"id": "req_1", "key_id": "k", "route": "chat", "model": "m", "engine": "embedded"},
        **{"state": "done", "status": 200, "currency": "USD", "is_stream": 1},
        **{"prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 5},
        **{"received_us": 0, "started_us": 1_000_000, "first_token_us": 1_500_000},
        "finished_us": 3_500_000,
    }
    return RequestRow(**{**known, **facts})


def told(reason):
    return Story(call=None, route="chat", finished=[reason])


@pytest.fixture
def names():
    gate = Gate(inside_max=2, queue_max=2, queue_s=1)
    target = SimpleNamespace(model="m", engine="embedded", gate=gate)
    gate.busy.enter()
    return VllmNames(lambda: [target], lambda: {("m", "embedded"): 0.25})


def page(names):
    """Samples by name and labels without the two that all have."""
    registry = CollectorRegistry()
    registry.register(names)
    text = generate_latest(registry).decode()
    return {
        (sample.name, *[value for label, value in sample.labels.items() if label not in BOTH]): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


BOTH = ("model_name", "engine")


def test_a_request_is_counted_under_the_names_that_dashboards_ask_for(names):
    names.counted(row(), told("stop"))
    found = page(names)
    assert found[("vllm:num_requests_running",)] == 1
    assert found[("vllm:num_requests_waiting",)] == 0
    assert found[("vllm:kv_cache_usage_perc",)] == found[("vllm:gpu_cache_usage_perc",)] == 0.25
    assert found[("vllm:prompt_tokens_total",)] == 10
    assert found[("vllm:generation_tokens_total",)] == 5
    assert found[("vllm:prefix_cache_queries_total",)] == 10
    assert found[("vllm:prefix_cache_hits_total",)] == 4
    assert found[("vllm:request_success_total", "stop")] == 1
    for name, seconds, count in (
        ("time_to_first_token", 1.5, 1),
        ("e2e_request_latency", 3.5, 1),
        ("request_queue_time", 1.0, 1),
        ("request_inference_time", 2.5, 1),
        ("request_prefill_time", 0.5, 1),
        ("request_decode_time", 2.0, 1),
        ("time_per_output_token", 2.0, 4),
        ("inter_token_latency", 2.0, 4),
        ("request_time_per_output_token", 0.5, 1),
    ):
        assert found[(f"vllm:{name}_seconds_sum",)] == pytest.approx(seconds), name
        assert found[(f"vllm:{name}_seconds_count",)] == count, name
    assert found[("vllm:inter_token_latency_seconds_bucket", "0.4")] == 0
    assert found[("vllm:inter_token_latency_seconds_bucket", "0.5")] == 4
    assert found[("vllm:time_to_first_token_seconds_bucket", "2560.0")] == 1
    assert found[("vllm:request_prompt_tokens_bucket", "10.0")] == 1


@pytest.mark.parametrize(
    ("state", "said", "reason"),
    [
        ("done", "length", "length"),
        ("done", "tool_calls", "stop"),
        ("aborted", "", "abort"),
        ("failed", "", "error"),
    ],
)
def test_why_an_answer_ended_is_said_in_its_words(names, state, said, reason):
    names.counted(row(state=state), told(said) if said else None)
    assert page(names)[("vllm:request_success_total", reason)] == 1


def test_what_is_not_known_is_absent(names):
    names.counted(row(is_stream=0, engine="far", cached_tokens=0), told("stop"))
    found = page(names)
    assert ("vllm:time_to_first_token_seconds_count",) in found
    assert found[("vllm:time_to_first_token_seconds_count",)] == 0
    assert ("vllm:prefix_cache_queries_total",) not in found, "that engine says nothing of a cache"
    assert not any("preempt" in name or "lora" in name for name, *_ in found)


def test_a_name_that_no_engine_answered_for_becomes_no_label(names):
    names.counted(row(engine=None, model="CANARY", state="refused"), None)
    assert not any("CANARY" in part for key in page(names) for part in key)
    assert ("vllm:prompt_tokens_total",) not in page(names)
