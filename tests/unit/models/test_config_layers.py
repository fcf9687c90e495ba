"""Shapes of builds that few have: what their layers weigh and remember, from configs as quoted."""

import pytest

from haneul.chips.footprint import kv_bytes
from haneul.models.shapes.config_shape import shape_of_config


def mixture(model_type, layers, hidden, heads, kv_heads, width, vocabulary, **more):
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": width,
        "vocab_size": vocabulary,
        "max_position_embeddings": 131_072,
        "head_dim": 128,
        **more,
    }


# As public repositories quote them: kinds of layers that the 72 files do not have.
QUOTED = {
    "MiniMax-M1": mixture(
        *("minimax_m1", 80, 6144, 64, 8, 9216, 200_064),
        num_local_experts=32,
        num_experts_per_tok=2,
        attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1] * 10,
    ),
    "GLM-4.5-Air": mixture(
        *("glm4_moe", 46, 4096, 96, 8, 10_944, 151_552),
        moe_intermediate_size=1408,
        n_routed_experts=128,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=1,
    ),
    "Hunyuan-Large": mixture(
        *("hunyuan", 64, 6400, 80, 8, 18_304, 128_512),
        head_dim=80,
        num_experts=16,
        moe_topk=1,
        num_shared_expert=1,
        use_cla=True,
        cla_share_factor=2,
        tie_word_embeddings=True,
    ),
    "Qwen3-Next": mixture(
        *("qwen3_next", 48, 2048, 16, 2, 5120, 151_936),
        head_dim=256,
        num_experts=512,
        num_experts_per_tok=10,
        moe_intermediate_size=512,
        shared_expert_intermediate_size=512,
        linear_num_key_heads=16,
        linear_num_value_heads=32,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_conv_kernel_dim=4,
    ),
}


@pytest.mark.parametrize(
    ("name", "in_all", "for_one", "layers_with_numbers"),
    [
        ("MiniMax-M1", 456, 45.9, 10),
        ("GLM-4.5-Air", 106, 12, 46),
        ("Hunyuan-Large", 389, 52, 32),
        ("Qwen3-Next", 80, 3.5, 12),
    ],
)
def test_lightning_linear_and_shared_layers_add_up_to_what_the_makers_tell(
    name, in_all, for_one, layers_with_numbers
):
    found = shape_of_config(QUOTED[name])
    assert found.parameters / 1e9 == pytest.approx(in_all, rel=0.01)
    assert found.active_parameters / 1e9 == pytest.approx(for_one, rel=0.13)
    keeping = [part.count for part in found.memory if part.numbers]
    assert sum(keeping) == layers_with_numbers


def test_defaults_of_a_family_fill_what_its_config_leaves_out():
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    found = shape_of_config({"model_type": "gemma3", "text_config": text})
    assert (found.heads, found.kv_heads, found.key_size) == (8, 4, 256)
    assert sorted((part.window, part.count) for part in found.memory) == [(0, 5), (1024, 29)]
    assert found.parameters == pytest.approx(3.88e9, rel=0.01)


def test_a_pattern_of_letters_tells_which_layers_look_at_everything():
    exaone = {
        "model_type": "exaone4",
        "hidden_size": 5120,
        "intermediate_size": 27392,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 102_400,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
        "sliding_window_pattern": "LLLG",
    }
    found = shape_of_config(exaone)
    assert [(part.window, part.count) for part in found.memory] == [(4096, 48), (0, 16)]
    assert found.parameters == pytest.approx(32e9, rel=0.01)


def test_layers_that_read_an_earlier_ones_keys_keep_none_of_their_own():
    gemma = {
        "model_type": "gemma3n_text",
        "hidden_size": 2048,
        "intermediate_size": [16_384] * 35,
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "num_kv_shared_layers": 15,
        "vocab_size": 262_400,
        "vocab_size_per_layer_input": 262_144,
        "hidden_size_per_layer_input": 256,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
    }
    found = shape_of_config(gemma)
    kept = [part.count for part in found.memory if part.numbers]
    assert sum(kept) == 20
    assert found.parameters == pytest.approx(6.87e9, rel=0.05)  # of the part for text, E4B


def test_a_state_space_is_read_by_either_of_its_spellings():
    granite = {
        "model_type": "granitemoehybrid",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 100_352,
        "max_position_embeddings": 131_072,
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
        "mamba_n_heads": 64,
        "mamba_d_head": 64,
        "mamba_d_state": 128,
        "mamba_n_groups": 1,
        "mamba_d_conv": 4,
    }
    found = shape_of_config(granite)
    state = 64 * 64 * 128 * 4 + (64 * 64 + 2 * 128) * 3 * 2
    assert [(part.count, part.state_bytes) for part in found.memory] == [(3, state), (1, 0)]


def test_an_encoder_keeps_nothing_of_a_sequence():
    found = shape_of_config(
        {
            "model_type": "xlm-roberta",
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "vocab_size": 250_002,
            "max_position_embeddings": 8194,
        }
    )
    assert kv_bytes(found, 8192) == 0
    assert found.parameters == pytest.approx(568e6, rel=0.01)
