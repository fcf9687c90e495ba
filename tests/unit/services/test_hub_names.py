"""Names of models as ids of repositories: of the clients' form, each model once, found again."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haneul.services.hub.names import find, id_of, ids, is_id, model_of

# As huggingface_hub checks an id (utils/_validators.py).
THEIRS = re.compile(r"(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b", re.ASCII)
NAMES = st.text(st.sampled_from(string.ascii_letters + string.digits + ":/@._- ~한"), min_size=1)
REFERENCES = st.from_regex(
    r"(hf|modelscope):[a-z]{1,5}/[A-Z]{1,5}(@[a-z0-9]{1,5})?(:Q[0-9]_K)?", fullmatch=True
)


def is_theirs(text):
    fits = THEIRS.fullmatch(text) and "--" not in text and ".." not in text
    return bool(fits) and not text.endswith(".git") and text.count("/") == 1


@pytest.mark.parametrize(
    ("model", "repository"),
    [
        ("qwen3:0.6b", "haneul/qwen3-0.6b"),
        ("my-finetune", "haneul/my-finetune"),
        ("acme/support-8b", "acme/support-8b"),
        ("hf:Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("hf:org/repo:Q4_K_M", "org/repo-Q4_K_M"),
        ("hf:org/repo@v2:sub/file.gguf", "org/repo-v2-sub-file"),
        ("modelscope:org/repo@v2", "org/repo-v2"),
        ("https://host.example/a/b.gguf", "haneul/https-host.example-a-b.gguf"),
    ],
)
def test_a_model_has_the_repository_that_people_would_look_for(model, repository):
    assert id_of(model) == repository
    assert find([model], repository) == model


@given(st.one_of(NAMES, REFERENCES))
@example("-")
@example("x.git")
@example("..")
@example("a" * 400)
@example("a--b/c..d")
def test_every_name_becomes_an_id_that_clients_take(model):
    assert is_theirs(id_of(model)), id_of(model)


@given(NAMES)
def test_what_is_taken_for_an_id_here_is_one_for_the_clients(text):
    assert not is_id(text) or is_theirs(text)


@given(st.lists(st.one_of(NAMES, REFERENCES), unique=True, max_size=12))
def test_every_model_is_found_under_a_repository_of_its_own(models):
    every = ids(models)
    assert sorted(every.values()) == sorted(models)
    for repository, model in every.items():
        assert find(models, repository) == model


def test_two_models_of_one_name_are_told_apart_and_both_are_found():
    every = ids(["a:b", "a-b"])
    assert every["haneul/a-b"] == "a-b"
    (other,) = every.keys() - {"haneul/a-b"}
    assert re.fullmatch(r"haneul/a-b-[0-9a-f]{8}", other)
    assert every[other] == "a:b"


def test_the_repository_of_a_hub_finds_the_one_model_that_was_pulled_from_it():
    one = ["hf:org/repo:Q4_K_M", "hf:org/other:Q8_0"]
    assert find(one, "org/repo") == "hf:org/repo:Q4_K_M"
    assert find([*one, "hf:org/repo:Q8_0"], "org/repo") is None, "which of them is not said"
    assert find([*one, "hf:org/repo"], "org/repo") == "hf:org/repo"


def test_what_is_put_gets_the_name_that_is_here_or_in_the_catalogue_or_its_own():
    assert model_of("haneul/qwen3-0.6b", [], ["qwen3:0.6b"]) == "qwen3:0.6b"
    assert model_of("haneul/tuned", [], ["qwen3:0.6b"]) == "tuned"
    assert model_of("acme/tuned", [], []) == "acme/tuned"
    assert model_of("haneul/support-8b", ["support:8b"], []) == "support:8b"


@given(st.from_regex(r"[a-z]{1,8}/[a-z]{1,8}([.-][a-z]{1,4})?", fullmatch=True))
def test_what_was_put_is_found_where_it_was_put(repository):
    model = model_of(repository, [], [])
    assert find([model], repository) == model
