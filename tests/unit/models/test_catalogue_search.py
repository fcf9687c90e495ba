"""Finding models: words are filters where they mean one, all of them hold, and it takes no time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.chips.chip import Chip
from haneul.models.catalogue import load
from haneul.models.query import Query, parse_bytes, read_query
from haneul.models.search import best_fit, search, services, suggestion

KNOWN = load()
WORDS = ["korean", "mit", "8b", "<3b", "qwen", "code", "4gb", "free", "zz"]


def chip(free_gb):
    free = None if free_gb is None else round(free_gb * 1e9)
    return Chip(id="cpu-x", name="x", kind="cpu", vendor="x", memory_free_bytes=free)


def names(text, **options):
    return [hit.entry.name for hit in search(KNOWN, read_query(text), **options)]


def test_a_language_a_size_and_a_licence_find_what_has_all_three():
    found = [hit.entry for hit in search(KNOWN, read_query("Korean 8b Apache"))]
    assert found[0].name == "qwen3:8b"
    for entry in found:
        assert "ko" in entry.languages
        assert entry.licence == "Apache-2.0"
        assert 5e9 < entry.shape.parameters < 12e9


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("qwen3 0.6b", "qwen3:0.6b"),
        ("llama <2b", "llama3.2:1b"),
        ("한국어 reranker", "qwen3-reranker:0.6b"),
        ("kimi thinking", "kimi-k2-thinking:1t"),
        ("glm air", "glm-4.5-air:106b"),
        ("zai-org/GLM-4.6", "glm-4.6:355b"),
        ("gpt-oss", "gpt-oss:120b"),
        ("bge m3", "bge-m3:567m"),
        ("deepseek >=600b reasoning", "deepseek-v3.1:671b"),
    ],
)
def test_words_find_the_model_that_people_mean(text, first):
    assert names(text)[0] == first


def test_words_in_another_order_or_case_find_the_same():
    assert names("apache KOREAN code") == names("code apache korean") != []


def test_a_typing_error_still_finds_the_family():
    assert all(name.startswith("qwen3") for name in names("qwne3"))
    assert names("qwne3")


def test_what_nothing_answers_is_empty_with_a_hint_where_one_looks_alike():
    query = read_query("qwxxn")
    assert search(KNOWN, query) == []
    assert "qwen" in suggestion(KNOWN, query)
    assert suggestion(KNOWN, read_query("zzzzzzzz")) == ""
    assert names("korean embedding code") == []


def test_a_word_of_licences_leaves_out_weights_that_another_licence_binds_as_well():
    found = names("mit deepseek")
    assert "deepseek-r1:7b" in found
    assert "deepseek-r1:8b" not in found  # made of Llama's weights


def test_only_what_may_serve_paying_users_is_found_when_that_is_asked():
    found = names("commercial")
    assert "qwen2.5:3b" not in found
    assert "qwen2.5:7b" in found


def test_a_size_in_bytes_bounds_the_smallest_file():
    found = search(KNOWN, read_query("deepseek <8GB"))
    assert found
    for hit in found:
        assert best_fit(hit.entry, chip(None)).size.mid <= 8e9
    assert names("8gb deepseek") == [hit.entry.name for hit in found]


def test_only_what_fits_is_found_for_a_chip_and_its_finest_file_that_does():
    found = search(KNOWN, read_query("qwen3 chat"), chip=chip(10))
    assert {"qwen3:8b", "qwen3:4b"} <= {hit.entry.name for hit in found}
    assert "qwen3:32b" not in {hit.entry.name for hit in found}
    chosen = {hit.entry.name: hit.fitting.quantisation for hit in found}
    assert chosen["qwen3:4b"] == "Q8_0"
    assert chosen["qwen3:8b"] in ("Q5_K_M", "Q6_K")
    assert all(hit.fitting.fit.needed.high <= 10e9 for hit in found)


def test_a_chip_whose_memory_is_unknown_surely_fits_nothing():
    assert search(KNOWN, Query(), chip=chip(None)) == []
    assert best_fit(KNOWN.find("qwen3:8b"), chip(None)).fit.fits is None


def test_services_answer_by_task_and_name_but_not_by_size():
    assert [each.name for each in services(KNOWN, read_query("3d"))] == ["hunyuan3d-2.1"]
    assert [each.name for each in services(KNOWN, read_query("qwen3-max"))] == ["qwen3-max"]
    assert services(KNOWN, read_query("3d 8b")) == []
    assert services(KNOWN, read_query("korean")) == []


@pytest.mark.parametrize(("text", "count"), [("8GB", 8e9), ("800 mb", 8e8), ("1.5tb", 1.5e12)])
def test_a_size_reads_as_bytes(text, count):
    assert parse_bytes(text) == pytest.approx(count)


@pytest.mark.parametrize("text", ["8", "GB", "-1GB", "8 parsecs", "1e9gb"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(BadRequest):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["a " * 50, "x" * 300])
def test_a_search_that_is_too_long_is_refused(text):
    with pytest.raises(BadRequest):
        read_query(text)


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_one_word_more_never_finds_more(words):
    every = set(names(" ".join(words)))
    for at in range(len(words)):
        fewer = " ".join(words[:at] + words[at + 1 :])
        sizes = [word for word in words if word[-1] == "b"]
        if len(sizes) < 2 and "zz" not in words:  # the last size that is typed holds
            assert every <= set(names(fewer))


@given(st.text(max_size=150))
def test_any_text_is_a_query_or_refused(text):
    try:
        query = read_query(text)
    except BadRequest:
        return
    search(KNOWN, query)


def test_reading_the_catalogue_and_searching_it_is_quick():
    load.cache_clear()
    began = time.perf_counter()
    assert search(load(), read_query("korean 8b apache"))
    assert time.perf_counter() - began < 0.5  # 20 ms on two cores of 2023
