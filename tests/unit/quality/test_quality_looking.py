"""What each check takes for a good answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.quality import checks
from haneul.quality.looking import Answer, Asked, Call, code_of, json_in, longest_copy, look
from haneul.quality.numbers import numbers


def passes(check, text, expected=None, question="", calls=()):
    asked = Asked(question=question, expected=expected)
    return look(check, asked, Answer(text, list(calls))).is_passed


@pytest.mark.parametrize("text", ["Seoul", " seoul. ", "**Seoul**", "“Seoul”", "SEOUL!"])
def test_an_exact_answer_may_be_dressed(text):
    assert passes(checks.Exact(), text, ["Seoul", "서울"])


def test_an_exact_answer_is_no_other_and_no_longer():
    assert not passes(checks.Exact(), "It is Seoul", "Seoul")
    assert passes(checks.Exact(take="last_line"), "Let me think.\n\nSeoul", "Seoul")
    assert not passes(checks.Exact(fold_case=False), "seoul", "Seoul")


def test_a_label_must_be_the_only_one_that_is_named():
    check = checks.Label(labels=["spam", "not spam", "ham"])
    assert passes(check, "I think this is Spam.", "spam")
    assert passes(check, "Not spam", "not spam")
    assert not passes(check, "spam or ham", "spam")
    assert not passes(check, "hamster", "ham")
    assert passes(checks.Label(labels=["긍정", "부정"]), "긍정입니다", "긍정")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The result is 1,234.5.", 1234.5),
        ("= −17", -17),
        ("\\boxed{42}", 42),
        ("３万5千円", 35_000),
        ("1억 2천만 원", 120_000_000),
        ("거스름돈은 만 원", 10_000),
        ("2만 천 원", 21_000),
        ("5 만 원", 50_000),
        ("$12.50", 12.5),
        ("3/4", 0.75),
        ("1'000", 1000),
        ("5 - 3 = 2", 2),
        ("**7**.", 7),
    ],
)
def test_numbers_are_read_as_people_write_them(text, value):
    assert passes(checks.Numeric(), text, value)
    assert not passes(checks.Numeric(), text, value + 1)


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_found_with_and_without_thousands_signs(value):
    for text in (f"{value}", f"{value:,}", f"It is {value:,}."):
        assert [number.value for number in numbers(text)] == [value]


@given(st.text(max_size=200))
def test_numbers_are_sought_in_any_text(text):
    assert all(number.value == number.value for number in numbers(text))


def test_units_are_turned_into_the_expected_one():
    check = checks.Numeric(units={"km": 1, "m": 0.001}, unit_needed=True)
    assert passes(check, "It is 1500 m.", 1.5)
    assert passes(check, "1.5km", 1.5)
    assert not passes(check, "1.5", 1.5)
    assert not passes(check, "1.5 miles", 1.5)
    assert passes(checks.Numeric(take="first"), "4 of 10", 4)
    assert not passes(checks.Numeric(take="only"), "4 of 10", 4)
    assert passes(checks.Numeric(tolerance_share=0.01), "99.5", 100)


def test_json_may_stand_in_a_block_or_between_words_but_not_where_it_must_be_bare():
    said = 'Here:\n```json\n{"a": 1}\n```\nDone.'
    assert json_in(said) == {"a": 1}
    assert json_in('It is {"a": [1, 2]} then.') == {"a": [1, 2]}
    with pytest.raises(ValueError, match="no JSON"):
        json_in('It is {"a": 1}', bare=True)
    with pytest.raises(ValueError, match="no JSON"):
        json_in("[" * 100_000)


def test_json_is_held_to_its_schema_and_to_each_expected_value():
    schema = {"type": "object", "required": ["name", "age"], "additionalProperties": False}
    schema["properties"] = {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}}
    check, wanted = checks.Json(schema=schema), {"name": "a cup", "age": 3}
    assert passes(check, '{"name": "Cup", "age": 3}', wanted)
    assert not passes(check, '{"name": "cup", "age": "3"}', wanted)
    assert not passes(check, '{"name": "cup", "age": -1}', wanted)
    assert not passes(check, '{"name": "cup", "age": 3, "more": 1}', wanted)
    assert not passes(check, '{"name": "cup"}', wanted)
    half = look(check, Asked(question="", expected=wanted), Answer('{"name": "cup", "age": 4}'))
    assert (half.is_passed, half.score) == (False, 0.5)
    assert not passes(checks.Json(), '{"a": 1}', {"a": True})


def test_facts_are_sought_in_any_spelling_and_wrong_ones_refused():
    check = checks.Contains(all=[["12000", "12 thousand"], ["Porto"]], none=["Lisbon"])
    assert passes(check, "In PORTO 12,000 people came")
    assert not passes(check, "In Porto people came")
    assert not passes(check, "In Porto, not Lisbon, 12 thousand came")


def test_length_is_counted_in_words_sentences_and_characters():
    assert passes(checks.Length(sentences_max=2, words_min=3), "It rained. Then 2.5 mm fell.")
    assert not passes(checks.Length(sentences_max=1), "It rained. It stopped.")
    assert not passes(checks.Length(words_max=2), "one two three")
    assert not passes(checks.Length(characters_max=3), "four")
    assert not passes(checks.Length(sentences_max=1), "下雨了。雨停了。")


def test_what_is_copied_is_counted_in_words_in_a_row():
    question = "The old mill by the river was sold to a painter in May."
    assert longest_copy(question, "A painter bought it: the old mill by the river, she said.") == 6
    assert passes(checks.Copied(words_max=6), "the old mill by the river", question=question)
    assert not passes(checks.Copied(words_max=5), "the old mill by the river", question=question)


def test_the_one_expected_tool_is_called_with_its_arguments():
    wanted = {"name": "weather", "arguments": {"town": "Graz", "days": 2}}
    good = Call("weather", '{"days": 2, "town": "graz"}')
    assert passes(checks.ToolCall(), "", wanted, calls=[good])
    for wrong in (
        [],
        [good, good],
        [Call("time", good.arguments)],
        [Call("weather", '{"town": "Graz"}')],
        [Call("weather", '{"town": "Graz", "days": 2, "hour": 1}')],
        [Call("weather", "no json")],
    ):
        assert not passes(checks.ToolCall(), "", wanted, calls=wrong)


def test_a_pattern_must_be_there_or_must_not():
    assert passes(checks.Regex(pattern=r"\b14:05\b"), "At 14:05.")
    assert not passes(checks.Regex(pattern="sorry", found=False), "Sorry, no.")


def test_code_is_the_longest_block_also_of_an_answer_that_was_cut():
    assert code_of("x\n```python\na = 1\n```\n```\nb\n```") == "a = 1\n"
    assert code_of("```py\na = 1") == "a = 1"
    assert code_of("a = 1") == "a = 1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10\u202f200", 10200),
        ("10\u2009200", 10200),
        ("3½", 3.5),
        ("½", 0.5),
        ("= 3²", 9),
        ("10⁶", 10**6),
        ("It is .5", 0.5),
        ("about -.25", -0.25),
    ],
)
def test_numbers_are_read_with_narrow_blanks_vulgar_fractions_and_powers(text, value):
    assert [number.value for number in numbers(text)] == [value]


def test_a_number_is_no_part_of_a_greater_one():
    check = checks.Contains(all=[["3 million"]], none=["1995"])
    assert passes(check, "It cost 3 million.")
    assert not passes(check, "It cost 13 million.")
    assert not passes(check, "It cost 1.3 million.")
    assert passes(check, "It cost 3 million and 21995 cents.")
    assert passes(checks.Contains(all=[["in 9"]]), "It opens in 9.")
    assert not passes(checks.Contains(all=[["in 9"]]), "It opens in 9.5 days.")


def test_a_label_that_is_denied_is_not_named_and_one_within_a_word_hides_no_other():
    assert not passes(checks.Label(labels=["spam", "ham"]), "Not spam", "spam")
    assert passes(checks.Label(labels=["spam", "ham"]), "ham, not spam", "ham")
    assert not passes(checks.Label(labels=["art", "party"]), "art or party", "party")
    assert passes(checks.Label(labels=["art", "party"]), "party", "party")


def test_json_is_found_after_words_in_braces():
    assert json_in('As {name} said: {"a": 1}') == {"a": 1}


def test_looking_takes_a_time_that_grows_with_the_answer_alone():
    dots, words = "." * 65_536, "a b c d " * 8192
    assert longest_copy(words, words) == len(words.split())
    assert passes(checks.Length(words_max=0), dots)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_the_longest_copy_is_the_one_that_trying_all_finds(source, said):
    runs = {tuple(source[i:j]) for i in range(len(source) + 1) for j in range(i, len(source) + 1)}
    every = [said[i:j] for i in range(len(said) + 1) for j in range(i, len(said) + 1)]
    longest = max(len(run) for run in every if tuple(run) in runs)
    assert longest_copy(" ".join(source), " ".join(said)) == longest
