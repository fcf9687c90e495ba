"""Shapes are read from headers: sums of tensors, mixtures, tied heads, layers that differ."""

import pytest
from gguf import GGUFReader

from haneul.base.errors import BrokenFile
from haneul.base.gguf import check_file, read_header
from haneul.models.shapes.gguf_shape import shape_of
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes


@pytest.fixture
def shape(tmp_path):
    """Writes a file of the metadata and weights and reads its shape."""

    def read(metadata=TINY, weights=TINY_WEIGHTS):
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf_bytes(metadata, weights))
        return shape_of(check_file(path))

    return read


def test_shape_of_a_dense_model_sums_its_tensors(shape, tmp_path):
    found = shape()
    theirs = GGUFReader(tmp_path / "model.gguf").tensors
    assert (found.architecture, found.layers, found.hidden) == ("llama", 1, 32)
    assert (found.heads, found.kv_heads, found.key_size, found.value_size) == (4, 2, 8, 8)
    assert (found.feed_forward, found.vocabulary, found.context_tokens) == (64, 4, 64)
    assert found.parameters == sum(int(t.n_elements) for t in theirs)
    assert found.weight_bytes == sum(int(t.n_bytes) for t in theirs)
    assert (found.active_parameters, found.active_bytes) == (found.parameters, found.weight_bytes)
    assert found.quantisation == "F32"


def test_embedding_table_is_not_read_per_token_when_the_head_is_its_own(shape):
    tied = shape()
    split = shape(weights=[*TINY_WEIGHTS, Weights("output.weight", (32, 4))])
    assert tied.active_bytes == tied.weight_bytes
    assert split.active_bytes == split.weight_bytes - 32 * 4 * 4


def test_only_the_chosen_experts_of_a_mixture_are_active(shape):
    metadata = {**TINY, "llama.expert_count": 8, "llama.expert_used_count": 2}
    experts = Weights("blk.0.ffn_up_exps.weight", (32, 64, 8))
    dense, mixture = shape(), shape(metadata, [*TINY_WEIGHTS, experts])
    assert (mixture.experts, mixture.experts_used) == (8, 2)
    assert mixture.parameters == dense.parameters + 32 * 64 * 8
    assert mixture.active_parameters == dense.parameters + 32 * 64 * 2
    assert mixture.active_bytes == dense.active_bytes + 32 * 64 * 2 * 4


def test_heads_that_differ_by_layer_become_ones_that_need_at_least_the_same_cache(shape):
    metadata = {
        **TINY,
        "llama.block_count": 3,
        "llama.attention.head_count": [4, 8, 4],
        "llama.attention.head_count_kv": [2, 0, 3],
        "llama.feed_forward_length": [64, 128, 64],
    }
    found = shape(metadata)
    assert (found.heads, found.kv_heads, found.feed_forward) == (8, 2, 128)


def test_key_size_of_the_file_wins_over_the_even_share(shape):
    sizes = {"llama.attention.key_length": 128, "llama.attention.value_length": 64}
    found = shape({**TINY, **sizes})
    assert (found.key_size, found.value_size) == (128, 64)


def test_window_counts_only_where_every_layer_has_it(shape):
    assert shape({**TINY, "llama.attention.sliding_window": 48}).sliding_window == 48
    gemma = {
        key.replace("llama.", "gemma3."): value
        for key, value in {**TINY, "llama.attention.sliding_window": 48}.items()
    }
    assert shape({**gemma, "general.architecture": "gemma3"}).sliding_window == 0


def renamed(architecture, **more):
    """The tiny model's metadata as another architecture's, with more of its own."""
    own = {key.replace("llama.", f"{architecture}."): value for key, value in TINY.items()}
    extra = {f"{architecture}.{key}": value for key, value in more.items()}
    return {**own, "general.architecture": architecture, **extra}


def test_layers_of_a_family_that_mixes_windows_are_counted_by_its_pattern(shape):
    window = {"attention.sliding_window": 48}
    gemma = shape(renamed("gemma3", block_count=13, **window))
    assert [(part.count, part.window) for part in gemma.memory] == [(11, 48), (2, 0)]
    unknown = shape(renamed("phi3", block_count=13, **window))
    assert unknown.memory == ()


def test_a_pattern_in_the_file_holds_over_what_is_known_of_the_family(shape):
    listed = {"attention.sliding_window_pattern": [True, True, False]}
    found = shape(renamed("gemma3", block_count=6, **{"attention.sliding_window": 48, **listed}))
    assert [(part.count, part.window) for part in found.memory] == [(4, 48), (2, 0)]


def test_latent_attention_keeps_one_compressed_vector_for_each_token(shape):
    latent = {"attention.kv_lora_rank": 512, "rope.dimension_count": 64}
    found = shape(renamed("deepseek2", **{**latent, "attention.head_count_kv": 1}))
    assert [(part.count, part.numbers) for part in found.memory] == [(1, 576)]
    older = shape(renamed("deepseek2", **{**latent, "attention.head_count_kv": 4}))
    assert older.memory == ()  # such a file is kept head by head


def test_linear_layers_keep_a_state_and_the_others_keys_and_values(shape):
    linear = {
        "block_count": 8,
        "full_attention_interval": 4,
        "ssm.inner_size": 4096,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
        "ssm.conv_kernel": 4,
    }
    found = shape(renamed("qwen3next", **linear))
    state = (4096 * 128 + 3 * (4096 + 2 * 16 * 128)) * 4
    kept = [(part.count, part.numbers, part.state_bytes) for part in found.memory]
    assert kept == [(6, 0, state), (2, 2 * (8 + 8), 0)]


def test_a_header_with_more_layers_than_any_model_has_is_not_counted_layer_by_layer(tmp_path):
    path = tmp_path / "model.gguf"
    many = {"attention.sliding_window": 48, "block_count": 1 << 31}
    path.write_bytes(gguf_bytes(renamed("gemma3", **many), TINY_WEIGHTS))
    assert shape_of(read_header(path)).memory == ()


def test_quantisation_without_a_name_is_that_of_most_bytes(shape):
    metadata = {key: value for key, value in TINY.items() if key != "general.file_type"}
    heavy = Weights("blk.0.ffn_down.weight", (64, 512), "Q8_0")
    assert shape(metadata, [*TINY_WEIGHTS, heavy]).quantisation == "Q8_0"


def test_header_without_its_measures_has_no_shape(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama"}))
    with pytest.raises(BrokenFile, match=r"embedding_length is missing"):
        shape_of(read_header(path))
