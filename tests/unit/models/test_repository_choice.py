"""What is taken of a repository: weights that cannot run code, and what describes them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.manifest import File, manifest
from haneul.models.reference import parse
from haneul.models.sources.choice import choose
from haneul.models.sources.code_hooks import HOOKS, without_code
from haneul.models.sources.offer import Listed

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
DESCRIBED = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
TENSORS = [
    *SHARDS,
    "model.safetensors.index.json",
    *DESCRIBED,
    "chat_template.jinja",
    "merges.txt",
    "README.md",
    "LICENSE",
]
DANGEROUS = ["modeling_x.py", "pytorch_model.bin", "training_args.bin", "run.sh", "weights.npz"]
FOREIGN = [
    "consolidated.00.safetensors",
    "original/consolidated.00.pth",
    "pytorch_model.bin.index.json",
    "onnx/model.onnx",
    "figure.png",
    ".gitattributes",
    "sub/other.safetensors",
]


def taken(paths, text="hf:o/r"):
    return choose([Listed(path, 10) for path in paths], parse(text))


def paths(choice):
    return [file.path for file in choice.files]


def test_safetensors_come_with_all_that_describes_them_and_nothing_else():
    choice = taken([*TENSORS, *DANGEROUS, *FOREIGN])
    assert choice.format == "safetensors"
    assert paths(choice)[:2] == SHARDS
    assert sorted(paths(choice)) == sorted(TENSORS)


def test_pickles_and_code_are_left_out_by_name_with_the_reason():
    left_out = {entry.path: entry.reason for entry in taken([*TENSORS, *DANGEROUS]).left_out}
    assert set(left_out) == set(DANGEROUS)
    assert "pickle" in left_out["pytorch_model.bin"]
    assert "code" in left_out["modeling_x.py"]


def test_repository_of_pickles_only_is_refused_and_says_why():
    with pytest.raises(FetchFailed, match=r"pickles only \(pytorch_model.bin, x.pt\).*run code"):
        taken(["pytorch_model.bin", "x.pt", "config.json"])


def test_every_part_of_a_split_file_is_taken_in_order():
    parts = [f"Q8_0/m-Q8_0-0000{n}-of-00003.gguf" for n in (3, 1, 2)]
    assert paths(taken([*parts, "m-Q4_K_M.gguf"], "hf:o/r:Q8_0")) == sorted(parts)
    assert paths(taken([*parts, "m-Q2_K.gguf"], f"hf:o/r:{parts[0]}")) == sorted(parts)


@pytest.mark.parametrize("lost", [0, 1])
def test_weights_that_lack_a_part_are_refused(lost):
    with pytest.raises(FetchFailed, match=f"lacks {SHARDS[lost]}"):
        taken([path for path in TENSORS if path != SHARDS[lost]])


def test_gguf_is_preferred_and_safetensors_come_when_asked_for():
    both = [*TENSORS, "m-Q4_K_M.gguf"]
    assert paths(taken(both)) == ["m-Q4_K_M.gguf"]
    assert taken(both, "hf:o/r:safetensors").format == "safetensors"


def test_quantisation_of_a_repository_of_safetensors_leads_to_converting():
    with pytest.raises(BadRequest, match=r"o/r:safetensors and converted"):
        taken(TENSORS, "hf:o/r:Q4_K_M")


def test_adapter_is_told_from_a_model():
    adapter = ["adapter_config.json", "adapter_model.safetensors", "README.md"]
    assert taken(adapter).format == "adapter"
    assert taken([*adapter, "model.safetensors", "config.json"]).format == "safetensors"


def test_layers_of_an_embedding_model_belong_to_it():
    folders = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    chosen = paths(taken(["model.safetensors", "config.json", "modules.json", *folders]))
    assert set(folders) <= set(chosen)


def test_one_of_two_forms_of_the_same_weights_is_taken():
    with_index = ["model.safetensors", *SHARDS, "model.safetensors.index.json"]
    assert "model.safetensors" not in paths(taken(with_index))
    assert SHARDS[0] not in paths(taken(["model.safetensors", *SHARDS]))


names = st.text(st.sampled_from("ab/.. -_\\\0\n가é%#?"), max_size=12)
endings = st.sampled_from([".gguf", ".safetensors", ".json", ".py", ".bin", "", ".GGUF", ".txt"])
listed = st.lists(st.builds(lambda a, b: Listed(a + b, 1), names, endings), max_size=30)


@given(listed, st.sampled_from(["hf:o/r", "hf:o/r:Q4_K_M", "hf:o/r:safetensors"]))
def test_whatever_is_listed_what_is_taken_is_safe_and_can_be_a_revision(files, text):
    try:
        choice = choose(files, parse(text))
    except (BadRequest, FetchFailed):
        return
    chosen = dict.fromkeys(file.path for file in choice.files)
    assert not any(path.lower().endswith((".py", ".bin")) for path in chosen)
    manifest(choice.format, [File(path, "0" * 64, 1) for path in chosen])


# configurations


def test_hooks_are_dropped_at_every_depth_and_named():
    document = {
        "auto_map": {"AutoModel": "x.Model"},
        "text_config": {"auto_map": {}, "hidden_size": 3},
        "layers": [{"trust_remote_code": True}],
    }
    clean, dropped = without_code(json.dumps(document).encode(), "config.json")
    assert dropped == ["auto_map", "trust_remote_code"]
    assert json.loads(clean) == {"text_config": {"hidden_size": 3}, "layers": [{}]}


def test_configuration_without_hooks_keeps_its_bytes():
    raw = b'{ "a":1e-06,\n "b": 1000000000000000019884624838656, "auto_maps": {} }'
    assert without_code(raw, "config.json") == (raw, [])


def test_hook_behind_an_escape_or_a_second_key_is_found():
    hidden = rb'{"a": {"auto\u005fmap": {"x": "y.Z"}}, "a": {"b": 1}}'
    clean, dropped = without_code(hidden, "config.json")
    assert dropped == ["auto_map"]
    assert b"auto" not in clean


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"\xff", b'{"a":' * 100_000])
def test_what_is_no_configuration_is_refused(raw):
    with pytest.raises(FetchFailed, match=r"config\.json is not"):
        without_code(raw, "config.json")


words = st.sampled_from([*HOOKS, "a", "b"])
leaves = st.none() | st.integers() | st.text(max_size=3)
inner = st.dictionaries(words, leaves | st.lists(leaves, max_size=2), max_size=3)
values = leaves | inner | st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2)


@given(st.dictionaries(words, values, max_size=3))
def test_nothing_but_hooks_is_lost_of_any_configuration(document):
    def stripped(value):
        if isinstance(value, dict):
            return {key: stripped(each) for key, each in value.items() if key not in HOOKS}
        return [stripped(each) for each in value] if isinstance(value, list) else value

    clean, _ = without_code(json.dumps(document).encode(), "config.json")
    assert json.loads(clean) == stripped(document)
