"""Suites are read strictly, and those that ship are what their makers say."""

from __future__ import annotations

import json
import os
import re
from collections import Counter

import msgspec
import pytest

from bench.suites import code
from bench.suites.__main__ import made
from bench.suites.code_tasks import TASKS
from haneul.base.errors import BadRequest
from haneul.quality import checks
from haneul.quality import suite as suites
from haneul.quality.looking import Answer, Call
from haneul.quality.run import looked_at, spread

SETTINGS = """format = 1
name = "mine"
version = "1.0"
licence = "CC0-1.0"
language = ["en"]
task = "A task"

[[checks]]
kind = "exact"
"""
CASE = {"id": "a", "prompt": "Say one.", "expected": "one"}
SHIPPED = suites.shipped()


def write(folder, settings=SETTINGS, cases=(CASE,)):
    (folder / "suite.toml").write_text(settings)
    lines = [case if isinstance(case, str) else json.dumps(case) for case in cases]
    (folder / "cases.jsonl").write_text("\n".join(lines))
    return folder


def test_a_suite_is_read_as_it_was_written(tmp_path):
    read = suites.read(write(tmp_path))
    assert (read.name, read.version, [case.id for case in read.cases]) == ("mine", "1.0", ["a"])
    assert read.parameters.temperature == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("format = 1", "format = 2"), "suite.toml:1:"),
        (('name = "mine"', 'name = "Mine"'), "suite.toml:2:"),
        (('task = "A task"', ""), "missing required field `task`"),
        (("[[checks]]", "colour = 1\n[[checks]]"), "suite.toml:8:.*colour"),
        (('kind = "exact"', 'kind = "guess"'), "suite.toml"),
        (('kind = "exact"', 'kind = "exact"\nfold = 1'), "suite.toml.*fold"),
        (('task = "A task"', 'task = "A task'), "suite.toml: .*line 6"),
        (('task = "A task"', 'task = "t"\ncases = "../cases.jsonl"'), "suite.toml:7:"),
        (('kind = "exact"', 'kind = "regex"\npattern = "("'), "suite.toml: check 1: .*pattern"),
        (('kind = "exact"', 'kind = "json"\nschema = {format = "date"}'), "check 1: .*'format'"),
    ],
)
def test_bad_settings_are_refused_with_their_line(tmp_path, change, said):
    with pytest.raises(BadRequest, match=said):
        suites.read(write(tmp_path, SETTINGS.replace(*change)))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("{", "cases.jsonl:2: "),
        ({"id": "b", "prompt": "x", "expected": "y", "colour": 1}, "cases.jsonl:2: .*colour"),
        ({"id": "a", "prompt": "x", "expected": "y"}, "cases.jsonl:2: the same id as in line 1"),
        ({"id": "b", "prompt": "Say one.", "expected": "y"}, "2: the same question as in line 1"),
        ({"id": "b", "expected": "y"}, "cases.jsonl:2: .*prompt"),
        ({"id": "b", "prompt": "x"}, "cases.jsonl:2: .*expected"),
        ({"id": "b", "prompt": "x", "checks": [{"kind": "unit_test"}]}, "2: .*tests"),
        (
            {"id": "b", "prompt": "x", "expected": "y", "checks": [{"kind": "numeric"}]},
            "2: `expected` is no number",
        ),
        (
            {"id": "b", "prompt": "x", "expected": "y", "checks": [{"kind": "tool_call"}]},
            "2: `expected` needs `name`",
        ),
        ({"id": "b", "prompt": "x", "expected": "y", "level": 9}, "cases.jsonl:2: "),
    ],
)
def test_a_bad_case_is_refused_with_its_line(tmp_path, case, said):
    with pytest.raises(BadRequest, match=said):
        suites.read(write(tmp_path, cases=(CASE, case)))


def test_a_folder_without_cases_and_a_name_that_is_none_are_refused(tmp_path):
    (tmp_path / "suite.toml").write_text(SETTINGS)
    with pytest.raises(BadRequest, match=r"cases\.jsonl"):
        suites.read(tmp_path)
    with pytest.raises(BadRequest, match="arithmetic"):
        suites.find("arithmetics")


def test_files_that_are_no_files_of_the_folder_are_refused(tmp_path):
    folder, outside = tmp_path / "suite", tmp_path / "outside.jsonl"
    folder.mkdir()
    outside.write_text(json.dumps(CASE))
    cases = write(folder) / "cases.jsonl"
    for put in (
        lambda: cases.symlink_to("/dev/zero"),
        lambda: cases.symlink_to(outside),
        lambda: cases.symlink_to(cases),
        lambda: os.mkfifo(cases),
        cases.mkdir,
    ):
        cases.unlink()
        put()
        with pytest.raises(BadRequest, match=r"cases\.jsonl: "):
            suites.read(folder)


@pytest.mark.parametrize(
    ("check", "expected", "answer"),
    [
        (checks.Numeric(), 1, Answer("1/" + "3" * 400)),
        (checks.Numeric(), 1, Answer("1/" + "3" * 5000)),
        (checks.Json(), {"a": 1}, Answer('{"a": %s}' % ("9" * 400))),
        (
            checks.ToolCall(),
            {"name": "f", "arguments": {"a": 1}},
            Answer("", [Call("f", '{"a": %s}' % ("9" * 400))]),
        ),
    ],
)
async def test_an_answer_beyond_all_bounds_has_failed_and_ends_nothing(
    tmp_path, check, expected, answer
):
    read = suites.read(write(tmp_path))
    case = msgspec.structs.replace(read.cases[0], expected=expected, checks=[check])
    found = await looked_at(read, case, answer)
    assert not found.is_passed
    assert found.reason


async def test_a_whole_sentence_of_a_report_is_a_copy():
    read = suites.read(suites.find("summaries"))
    passed = 0
    for case in read.cases:
        sentences = case.question.split("\n\n")[1].split(". ")
        long = [f"{each}." for each in sentences if len(each.split()) > 10]
        passed += sum([(await looked_at(read, case, Answer(each))).is_passed for each in long])
    assert passed == 0


def test_a_cases_digest_is_of_what_is_asked_and_looked_at(tmp_path):
    read = suites.read(write(tmp_path))
    same = suites.read(write(tmp_path, cases=({**CASE, "id": "z", "level": 3},)))
    other = suites.read(write(tmp_path, cases=({**CASE, "expected": "two"},)))
    stricter = suites.read(write(tmp_path, SETTINGS + "fold_case = false\n"))
    digests = [each.case_digest(each.cases[0]) for each in (read, same, other, stricter)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_few_cases_are_spread_over_the_suite(tmp_path):
    cases = [{**CASE, "id": f"c{n}", "prompt": f"Say {n}."} for n in range(10)]
    read = suites.read(write(tmp_path, cases=cases))
    assert [case.id for case in spread(read.cases, 5)] == ["c0", "c2", "c4", "c6", "c8"]
    assert len(spread(read.cases, None)) == len(spread(read.cases, 99)) == 10


def test_what_ships_is_what_its_makers_make_and_can_be_read():
    every = made()
    assert sorted(each.name for each in every) == SHIPPED
    for each in every:
        for name, text in each.files().items():
            there = (suites.SHIPPED / each.name / name).read_text()
            assert there == text, f"{each.name}/{name}: run 'python -m bench.suites'"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_is_graded_free_and_without_repetitions(name):
    read = suites.read(suites.find(name))
    assert 60 <= len(read.cases) <= 150
    assert read.licence == "CC0-1.0"
    assert len({case.level for case in read.cases}) >= 3
    questions = Counter(" ".join(case.question.casefold().split()) for case in read.cases)
    assert questions.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in ("code", "summaries")])
async def test_the_expected_answers_pass_and_others_do_not(name):
    read = suites.read(suites.find(name))
    for case in read.cases:
        if case.expected is None:  # of a pattern there is no one answer
            continue
        expected = case.expected[0] if isinstance(case.expected, list) else case.expected
        good = json.dumps(expected) if isinstance(expected, dict) else str(expected)
        assert (await looked_at(read, case, Answer(good))).is_passed, case.id
        assert not (await looked_at(read, case, Answer("no"))).is_passed, case.id


@pytest.mark.parametrize("name", ["arithmetic", "classification", "everyday-ko-zh"])
async def test_the_question_itself_is_no_answer(name):
    read = suites.read(suites.find(name))
    passed = [
        case
        for case in read.cases
        if (await looked_at(read, case, Answer(case.question))).is_passed
    ]
    assert [case.id for case in passed] == []


@pytest.mark.parametrize(
    ("template", "wanted", "answers"),
    [
        ("day-zh", "星期三", ["周三", "礼拜三", "星期三。"]),
        ("word-ko", "7일", ["일곱", "7"]),
        ("word-zh", "7天", ["七", "七天"]),
        ("word-zh", "黑夜", ["夜", "夜晚"]),
    ],
)
async def test_right_answers_of_every_day_are_taken_in_each_form(template, wanted, answers):
    read = suites.read(suites.find("everyday-ko-zh"))
    of = [case for case in read.cases if case.id.startswith(template)]
    found = [case for case in of if isinstance(case.expected, list) and wanted in case.expected]
    assert found
    for case in found:
        for answer in answers:
            assert (await looked_at(read, case, Answer(answer))).is_passed, (case.id, answer)


def test_korean_and_chinese_questions_are_well_formed():
    texts = [case.question for case in suites.read(suites.find("everyday-ko-zh")).cases]
    assert not [each for each in texts if re.search(r"(개|자루)은|(권|병|장)는", each)]
    assert not [each for each in texts if re.search(r"[1245789]으로|[036]로", each)]
    assert not [each for each in texts if re.search("下午[6-9]点", each)]


async def test_three_quarters_of_an_hour_may_be_spoken():
    read = suites.read(suites.find("everyday-ko-zh"))
    (case,) = [each for each in read.cases if each.id == "minutes-zh-1"]
    assert (await looked_at(read, case, Answer("5点三刻结束"))).is_passed
    assert not (await looked_at(read, case, Answer("5点结束"))).is_passed


async def test_numbers_of_summaries_may_be_spelled():
    read = suites.read(suites.find("summaries"))
    (case,) = [each for each in read.cases if each.id == "study-01"]
    digit = re.search(r"at least (\d) hours", case.question)[1]
    word = {"6": "six", "7": "seven", "8": "eight", "9": "nine"}[digit]
    said = case.reference.replace(f"{digit} hours", f"{word} hours").replace("percent", "per cent")
    assert said != case.reference
    assert (await looked_at(read, case, Answer(said))).is_passed


async def test_the_references_of_summaries_pass_and_whole_reports_do_not():
    read = suites.read(suites.find("summaries"))
    for case in read.cases:
        found = await looked_at(read, case, Answer(case.reference))
        assert found.is_passed, (case.id, found.reason, case.reference)
        assert not (await looked_at(read, case, Answer(case.question))).is_passed, case.id
    assert len(read.pairs) == 25
    assert all(pair.better != pair.worse for pair in read.pairs)


@pytest.mark.slow
async def test_the_references_of_code_pass_their_tests_in_the_sandbox_and_stubs_do_not():
    read = suites.read(suites.find("code"))
    for case, (_, function, _) in zip(read.cases, TASKS, strict=True):
        good = f"```python\n{code.reference(function)}```"
        found = await looked_at(read, case, Answer(good))
        assert found.is_passed, (case.id, found.reason)
        stub = f"def {function.__name__}(*_):\n    return None"
        assert not (await looked_at(read, case, Answer(stub))).is_passed, case.id
