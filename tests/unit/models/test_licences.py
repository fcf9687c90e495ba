"""Licences: one however it is spelt, unknown where it is, and passed on to what is made."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import NotAllowed
from haneul.models.licences import inherited, known, licence

KNOWN = known()
any_licence = st.sampled_from(KNOWN)
making = st.sampled_from([each for each in KNOWN if each.allows_derivatives is not False])


@pytest.mark.parametrize(
    ("said", "id"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("llama3.1", "Llama-3.1"),
        ("Llama 3.1 Community", "Llama-3.1"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "Llama-3"),
        ("gemma", "Gemma"),
        ("DeepSeek Model License", "DeepSeek"),
        ("modified-mit", "Modified-MIT"),
        ("qwen-research", "Qwen-Research"),
        ("LicenseRef-Qwen", "Qwen"),
        ("tencent-hunyuan-a13b", "Tencent-Hunyuan"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ],
)
def test_a_licence_is_known_however_hubs_spell_it(said, id):
    assert licence(said).id == id


@pytest.mark.parametrize("said", [None, "", "  ", "other", "unknown"])
def test_a_licence_that_nobody_says_is_unknown_and_so_is_what_it_allows(said):
    found = licence(said)
    assert found.id == "unknown"
    assert found.allows_commercial is found.allows_derivatives is found.allows_sharing is None


def test_a_licence_of_another_name_keeps_its_name_and_allows_nothing_for_certain():
    found = licence("my-own-licence-7")
    assert found.id == "my-own-licence-7"
    assert found.allows_commercial is found.allows_derivatives is found.allows_sharing is None


@pytest.mark.parametrize("found", KNOWN, ids=lambda found: found.id)
def test_every_licence_has_a_source_and_is_found_by_its_id_and_its_name(found):
    assert found.source
    assert licence(found.id) == licence(found.name) == licence(found.id.upper()) == found
    assert found.is_free <= bool(found.allows_commercial and found.allows_derivatives)


def test_no_two_licences_answer_to_one_name():
    for one, other in itertools.combinations(KNOWN, 2):
        assert licence(one.name) != licence(other.name)


def test_what_a_hub_says_of_research_models_forbids_to_earn_with_them():
    assert licence("qwen-research").allows_commercial is False
    assert licence("cc-by-nc-sa-4.0").allows_commercial is False
    assert licence("llama3.3").allows_commercial is True


def test_nothing_is_made_of_a_model_whose_licence_forbids_it():
    with pytest.raises(NotAllowed, match="NoDerivatives"):
        inherited(licence("cc-by-nd-4.0"))
    with pytest.raises(NotAllowed):
        inherited(licence("mit"), licence("proprietary"))


def test_a_parent_that_asks_for_credit_only_leaves_the_other_licence_as_it_is():
    assert inherited(licence("mit"), licence("gemma")) == licence("gemma")
    assert inherited(licence("llama3.1"), licence("apache-2.0")) == licence("llama3.1")
    assert inherited(licence("qwen")) == licence("qwen")


def test_the_conditions_of_two_parents_hold_together():
    both = inherited(licence("llama3.1"), licence("cc-by-nc-4.0"))
    assert both.id == "Llama-3.1 AND CC-BY-NC-4.0"
    assert both.allows_commercial is False
    assert {*licence("llama3.1").conditions, *licence("cc-by-nc-4.0").conditions} == {
        *both.conditions
    }


def test_an_unknown_parent_makes_the_child_unknown_not_free():
    child = inherited(licence("apache-2.0"), licence("their own"))
    assert child.id == "their own"
    assert child.allows_commercial is None


@given(making, making)
def test_no_child_is_freer_than_one_of_its_parents(one, other):
    child = inherited(one, other)
    for what in ("allows_commercial", "allows_derivatives", "allows_sharing"):
        if False in (getattr(one, what), getattr(other, what)):
            assert getattr(child, what) is False
        if getattr(child, what):
            assert getattr(one, what)
            assert getattr(other, what)


@given(making, making)
def test_a_stored_id_reads_back_as_the_licence_it_names(one, other):
    child = inherited(one, other)
    assert licence(child.id) == child


@given(any_licence, st.text(max_size=80))
def test_any_text_is_a_licence_or_unknown(found, text):
    assert licence(text).id
    assert licence(f"  {found.id} ") == found
