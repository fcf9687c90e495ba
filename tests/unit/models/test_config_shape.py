"""A shape from a config.json, held against what others read from the same 72 files."""

import itertools
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haneul.base.errors import BrokenFile
from haneul.chips.footprint import footprint, kv_bytes
from haneul.models.catalogue import find
from haneul.models.shapes.config_fields import read_config
from haneul.models.shapes.config_shape import shape_of_config

TOLD = json.loads((Path(__file__).parent / "model_configs.json").read_text())
NAMES = sorted(TOLD["models"])

# Where the others count less finely than the config allows: their number, and why it is not ours.
COUNTED_OTHERWISE = {
    "Llama-4": "windows are counted as whole contexts",
    "MiMo-V2": "windows are counted as whole contexts",
    "MiniMax-M3": "the index of blocks is left out",
    "GLM-5.2": "an index is counted in layers that share another's",
    "GLM-5.3": "an index is counted in layers that share another's",
    "Kimi-K3": "states are counted several times, for copies that one engine keeps",
    "Nemotron": "every block is counted as attention, or none",
}
NOT_READ_BY_THE_OTHERS = {("moonshotai/Kimi-K3", "experts_used")}

# Billions of parameters, in all and for one token, as the makers tell them.
MAKERS_TELL = {
    "deepseek-ai/DeepSeek-R1": (671, 37),
    "deepseek-ai/DeepSeek-V4-Flash": (284, 13),
    "deepseek-ai/DeepSeek-V4-Pro": (1600, 49),
    "moonshotai/Kimi-K2-Instruct": (1026, 32),
    "MiniMaxAI/MiniMax-M2.5": (230, 10),
    "zai-org/GLM-5": (744, 40),
    "openai/gpt-oss-120b": (116.8, 5.1),
    "openai/gpt-oss-20b": (20.9, 3.6),
    "mistralai/Mixtral-8x7B-v0.1": (46.7, 12.9),
    "mistralai/Mixtral-8x22B-v0.1": (140.6, 39.1),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": (109, 17),
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": (400, 17),
    "XiaomiMiMo/MiMo-V2-Flash": (309, 15),
    "Qwen/Qwen3-235B-A22B": (235, 22),
    "Qwen/Qwen3-30B-A3B": (30.5, 3.3),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": (480, 35),
    "Qwen/Qwen3-32B": (32.8, 32.8),
    "Qwen/Qwen3-8B": (8.2, 8.2),
    "Qwen/Qwen3.5-27B": (27, 27),
    "Qwen/Qwen3.5-397B-A17B": (397, 17),
    "meta-llama/Meta-Llama-3.1-8B": (8.03, 8.03),
    "meta-llama/Meta-Llama-3.1-405B": (405.9, 405.9),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (31.6, 3.6),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8": (120.6, 12.7),
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": (550, 55),
    "nvidia/Nemotron-H-56B-Base-8K": (56, 56),
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1": (49.9, 49.9),
    "google/gemma-4-26B-A4B": (25.2, 3.8),
}


def whole(value):
    """A config as its makers wrote it: runs and repeated units of lists written out."""
    if isinstance(value, dict) and "runs" in value:
        return list(itertools.chain.from_iterable([each] * count for each, count in value["runs"]))
    if isinstance(value, dict) and "unit" in value:
        return list(itertools.islice(itertools.cycle(value["unit"]), value["length"]))
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    return value


def config(name):
    return whole(TOLD["models"][name]["config"])


@pytest.mark.parametrize("name", NAMES)
def test_measures_are_those_that_others_read_from_the_same_file(name):
    told = TOLD["models"][name]["told"]
    found = shape_of_config(config(name))
    measures = ["layers", "heads", "hidden", "vocabulary", "context_tokens", "experts"]
    for measure in [*measures, "experts_used"]:
        if (name, measure) not in NOT_READ_BY_THE_OTHERS:
            assert getattr(found, measure) == told[measure], measure
    if found.experts:
        assert found.feed_forward == told["expert_width"]
    elif told["feed_forward"]:
        assert found.feed_forward == told["feed_forward"]


COUNTED = [
    name
    for name in NAMES
    if "cache_bytes" in TOLD["models"][name]
    and not any(family in name for family in COUNTED_OTHERWISE)
]


@pytest.mark.parametrize("name", COUNTED)
def test_what_a_sequence_keeps_is_what_others_count(name):
    counted = TOLD["models"][name]["cache_bytes"]
    found = shape_of_config(config(name))
    ours = [kv_bytes(found, tokens, batch_tokens=0) for tokens in (1000, 100_000)]
    # the last entry that V4's tokens share is counted whole here, and an index with its scale
    assert ours == pytest.approx(counted, rel=0.01 if "V4" in name else 1e-9)


def test_most_of_the_files_are_counted_alike():
    assert len(COUNTED) > 0.6 * len(NAMES)


@pytest.mark.parametrize("name", sorted(MAKERS_TELL))
def test_parameters_are_those_that_the_makers_tell(name):
    in_all, for_one = MAKERS_TELL[name]
    found = shape_of_config(config(name))
    assert found.parameters / 1e9 == pytest.approx(in_all, rel=0.02)
    looked_up = 0 if in_all == for_one else found.vocabulary * found.hidden / 1e9
    active = found.active_parameters / 1e9
    # some makers count the embedding among a token's parameters and some do not
    assert active - looked_up <= for_one * 1.08
    assert active >= for_one * 0.92


def test_a_cached_token_of_latent_attention_is_what_its_makers_publish():
    found = shape_of_config(config("deepseek-ai/DeepSeek-R1"))
    assert kv_bytes(found, 1) == 70_272  # arXiv 2505.09343, table 1
    assert (found.kv_heads, found.key_size, found.value_size) == (1, 576, 512)


def test_windows_bound_the_middle_of_a_footprint_and_not_its_cautious_end():
    found = shape_of_config(config("openai/gpt-oss-20b"))
    need = footprint(found, context_tokens=131_072, slots=1, has_windows=True)
    whole_context = 24 * 1024 * 131_072 * 2
    assert need.kv_bytes < 0.51 * whole_context
    assert need.total.high > found.weight_bytes + whole_context


@pytest.mark.parametrize(
    ("name", "quantisation", "gigabytes"),
    [
        ("deepseek-ai/DeepSeek-R1", "FP8", 673),
        ("moonshotai/Kimi-K2.5", "INT4", 549),
        ("Qwen/Qwen3-8B", "BF16", 16.4),
        ("openai/gpt-oss-20b", "MXFP4", 13.8),
        ("deepseek-ai/DeepSeek-V4-Flash", "FP4", 155),
    ],
)
def test_bytes_follow_from_the_bits_that_the_config_names(name, quantisation, gigabytes):
    found = shape_of_config(config(name))
    assert found.quantisation == quantisation
    assert found.weight_bytes / 1e9 == pytest.approx(gigabytes, rel=0.02)
    assert found.active_bytes < found.weight_bytes
    known = shape_of_config(config(name), weight_bytes=round(found.weight_bytes * 1.1))
    assert known.weight_bytes == round(found.weight_bytes * 1.1)
    assert known.quantisation == quantisation
    assert shape_of_config(config(name), weight_bytes=10**13).quantisation == "unknown"
    share = known.active_bytes / known.weight_bytes
    assert share == pytest.approx(found.active_bytes / found.weight_bytes)


def test_an_entry_of_the_catalogue_has_the_shape_of_its_config():
    for name, entry in [
        ("deepseek-ai/DeepSeek-V3.2", "deepseek-v3.2"),
        ("Qwen/Qwen3-30B-A3B", "qwen3:30b-a3b"),
        ("openai/gpt-oss-120b", "gpt-oss:120b"),
        ("moonshotai/Kimi-K2.5", "kimi-k2.5"),
    ]:
        here, there = shape_of_config(config(name)), find(entry).shape
        for measure in ("layers", "hidden", "heads", "kv_heads", "experts", "context_tokens"):
            assert getattr(here, measure) == getattr(there, measure), (entry, measure)
        assert here.parameters == pytest.approx(there.parameters, rel=0.001)
        assert kv_bytes(here, 50_000) == kv_bytes(there, 50_000), entry


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_hidden_layers": 10**6}, "1 to 1024"),
        ({"num_hidden_layers": 0}, "1 to 1024"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"hidden_size": "4096"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"vocab_size": None}, "vocab_size"),
        ({"vocab_size": 1 << 40}, "vocab_size"),
        ({"layer_types": ["full_attention"]}, "1 of its 36 layers"),
        ({"model_type": ["qwen3"]}, "model_type"),
        ({"layer_types": ["full_attention"] * 5000}, "more than 1024"),
    ],
)
def test_a_config_that_cannot_be_is_refused_with_the_field_it_fails_at(change, reason):
    with pytest.raises(BrokenFile, match=reason):
        shape_of_config({**config("Qwen/Qwen3-8B"), **change})


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'"config"'])
def test_what_is_no_object_of_json_is_no_config(data):
    with pytest.raises(BrokenFile):
        read_config(data)


@pytest.mark.parametrize("config", [[], None, 1, "qwen3", {}])
def test_what_is_no_config_has_no_shape(config):
    with pytest.raises(BrokenFile):
        shape_of_config(config)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 5000) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(NAMES), st.data())
def test_any_change_to_a_config_gives_a_shape_or_a_reason(name, data):
    changed = config(name)
    part = changed.get("text_config", changed)
    for key in data.draw(st.lists(st.sampled_from(sorted(part)), min_size=1, max_size=3)):
        part[key] = data.draw(anything)
    try:
        found = shape_of_config(changed)
    except BrokenFile:
        return
    assert 0 <= found.active_parameters <= found.parameters
    assert found.layers == sum(layers.count for layers in found.memory)


def test_the_largest_config_that_is_taken_is_read_in_no_time():
    many = {**config("zai-org/GLM-5.2"), "num_hidden_layers": 1024}
    many["mlp_layer_types"] = ["sparse"] * 1024
    many["indexer_types"] = ["full"] * 1024
    began = time.monotonic()
    assert shape_of_config(many).layers == 1024
    assert time.monotonic() - began < 10
