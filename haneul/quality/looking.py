"""Looks at an answer: each kind of check that needs nothing but the texts."""

from __future__ import annotations

import itertools
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from haneul.quality import checks, shapes
from haneul.quality.checks import GOOD, AnyCheck, Verdict, bad
from haneul.quality.numbers import numbers, plain, scaled

ANSWER_MAX_CHARS = 65_536  # of one answer that are looked at
OPENINGS_MAX = 64  # places in an answer where JSON is sought
QUOTES = "\"'`“”‘’「」『』《》 \t\n"
STOPS = ".。!！"
FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:```|\Z)", re.S)
ARTICLE = re.compile(r"^(?:an?|the) ")
EDGES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


class Call(Struct, frozen=True):
    """One call of a tool in an answer, its arguments as JSON text."""

    name: str
    arguments: str


class Answer(Struct, frozen=True):
    """What a model said."""

    text: str
    calls: list[Call] = []


class Asked(Struct, frozen=True, kw_only=True):
    """What the checks know of the case: the question, what is expected, the tests of its code."""

    question: str
    expected: Any = None
    tests: str | None = None


def look(check: AnyCheck, asked: Asked, answer: Answer) -> Verdict:
    """What one check says; a unit test is looked at in quality.sandbox instead."""
    text = answer.text[:ANSWER_MAX_CHARS]
    match check:
        case checks.Exact():
            return _exact(check, _texts(asked.expected), text)
        case checks.Label():
            return _label(check, asked.expected, text)
        case checks.Regex():
            flags = re.IGNORECASE if check.fold_case else 0
            is_found = re.search(check.pattern, text, flags | re.MULTILINE) is not None
            wrong = "is not there" if check.found else "is there"
            return GOOD if is_found == check.found else bad(f"the pattern {wrong}")
        case checks.Numeric():
            return _numeric(check, float(asked.expected), text)
        case checks.Json():
            return _json(check, asked.expected, text)
        case checks.Contains():
            return _contains(check, text)
        case checks.Length():
            return _length(check, text)
        case checks.Copied():
            count = longest_copy(asked.question, text)
            return GOOD if count <= check.words_max else bad(f"{count} words in a row are copied")
        case checks.ToolCall():
            return _tool_call(check, asked.expected, answer.calls)
        case checks.UnitTest():
            raise TypeError("a unit test runs in the sandbox")


def code_of(text: str) -> str:
    """The Python of an answer: its longest fenced block, or all of it."""
    blocks = FENCE.findall(text)
    return max(blocks, key=len) if blocks else text


def words_of(text: str) -> list[str]:
    """Words of a text; in writing without blanks each character is one."""
    return re.findall(r"[぀-ヿ一-鿿]|\w(?:[\w'’.,%-]*\w)?", text)


def longest_copy(source: str, text: str) -> int:
    """How many words in a row of the text stand in the source just so; in linear time."""
    onward, link, length = _runs(_folded(source))
    state = count = longest = 0
    for word in _folded(text):
        while state and word not in onward[state]:
            state = link[state]
            count = length[state]
        if word in onward[state]:
            state, count = onward[state][word], count + 1
        longest = max(longest, count)
    return longest


def _runs(words: list[str]) -> tuple[list[dict[str, int]], list[int], list[int]]:
    """The suffix automaton of words: steps, suffix links, longest runs (Blumer et al. 1985)."""
    onward: list[dict[str, int]] = [{}]
    link, length, last = [-1], [0], 0
    for word in words:
        new, at, last = len(onward), last, len(onward)
        onward.append({})
        link.append(0)
        length.append(length[at] + 1)
        while at >= 0 and word not in onward[at]:
            onward[at][word] = new
            at = link[at]
        if at < 0:
            continue
        next_one = onward[at][word]
        if length[next_one] > length[at] + 1:  # of runs of unlike length: the shorter get their own
            twin = len(onward)
            onward.append(dict(onward[next_one]))
            link.append(link[next_one])
            length.append(length[at] + 1)
            link[next_one], link[new] = twin, twin
            while at >= 0 and onward[at].get(word) == next_one:
                onward[at][word] = twin
                at = link[at]
        else:
            link[new] = next_one
    return onward, link, length


def json_in(text: str, *, bare: bool = False) -> Any:
    """The first JSON object or list of a text. Raises ValueError where there is none."""
    blocks = [] if bare else FENCE.findall(text)
    for part in [*blocks, text.strip() if bare else text]:
        for begin in [0] if bare else _openings(part):
            try:
                value, end = json.JSONDecoder().raw_decode(part, begin)
            except (ValueError, RecursionError):
                continue
            if not bare or end == len(part):
                return value
    raise ValueError("no JSON")


def _openings(text: str) -> list[int]:
    """Where an object or list may begin; words may have braces too, so there are some."""
    found = (match.start() for match in re.finditer(r"[{\[]", text))
    return list(itertools.islice(found, OPENINGS_MAX))


def compared(expected: Any, found: Any, tolerance_share: float) -> Iterator[bool]:
    """For each expected value whether it was found; texts but for case, blanks and articles."""
    if isinstance(expected, dict):
        if not expected:
            yield found == {}
        for name, value in expected.items():
            yield from compared(
                value, found.get(name) if isinstance(found, dict) else None, tolerance_share
            )
    elif isinstance(expected, list):
        items = found if isinstance(found, list) else []
        yield len(items) == len(expected)
        for index, value in enumerate(expected):
            item = items[index] if index < len(items) else None
            yield from compared(value, item, tolerance_share)
    else:
        yield _equal(expected, found, tolerance_share)


def _equal(expected: Any, found: Any, tolerance_share: float) -> bool:
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None:
        return expected is found
    if isinstance(expected, int | float):
        is_number = isinstance(found, int | float)
        return is_number and math.isclose(found, expected, rel_tol=max(tolerance_share, 1e-9))
    texts = (ARTICLE.sub("", _tidy(text, True)) for text in (expected, found) if _is_text(text))
    return _is_text(found) and len(set(texts)) == 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(expected: Any) -> list[str]:
    return [str(each) for each in (expected if isinstance(expected, list) else [expected])]


def _tidy(text: str, fold_case: bool) -> str:
    text = " ".join(plain(text).split()).strip(QUOTES).rstrip(STOPS).strip(QUOTES)
    return text.casefold() if fold_case else text


def _exact(check: checks.Exact, accepted: list[str], text: str) -> Verdict:
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    taken = {"all": text, "first_line": lines[0], "last_line": lines[-1]}[check.take]
    said = _tidy(taken, check.fold_case)
    wanted = {_tidy(each, check.fold_case) for each in accepted}
    return GOOD if said in wanted else bad("it is none of the expected texts")


def _label(check: checks.Label, expected: Any, text: str) -> Verdict:
    folded = unicodedata.normalize("NFKC", text).casefold()
    named = set()
    for label in sorted(check.labels, key=len, reverse=True):
        # "not spam" names spam too: the longer label is meant, so its place is taken.
        folded, count = _pattern(label.casefold()).subn(" . ", folded)
        named |= {label} if count else set()
    if named == {str(expected)}:
        return GOOD
    return bad(f"it names {', '.join(sorted(named))}" if named else "it names no label")


def _pattern(label: str) -> re.Pattern[str]:
    """Of a label that is not denied in English."""
    edge = r"\b" if label.isascii() else ""
    return re.compile(rf"(?<!\bnot )(?<!\bnot a )(?<!\bno ){edge}{re.escape(label)}{edge}")


def _numeric(check: checks.Numeric, expected: float, text: str) -> Verdict:
    found = numbers(text)
    if not found:
        return bad("it holds no number")
    if check.take == "only" and len(found) > 1:
        return bad("it holds more than one number")
    value, has_unit = scaled(found[0 if check.take == "first" else -1], check.units)
    if check.unit_needed and not has_unit:
        return bad("its number has no unit that is known")
    allowed = max(check.tolerance, abs(expected) * check.tolerance_share, 1e-9)
    return GOOD if abs(value - expected) <= allowed else bad(f"it says {value:g}")


def _json(check: checks.Json, expected: Any, text: str) -> Verdict:
    try:
        value = json_in(text, bare=check.bare)
    except ValueError:
        return bad("it holds no JSON")
    if wrong := next(shapes.faults(value, check.schema), None):
        return bad(wrong)
    right = list(compared(expected, value, check.tolerance_share)) if expected is not None else []
    share = sum(right) / len(right) if right else 1.0
    return GOOD if all(right) else bad(f"{right.count(False)} values are wrong", share)


def _contains(check: checks.Contains, text: str) -> Verdict:
    folded = " ".join(re.sub(r"(?<=\d)[,_](?=\d{3})", "", plain(text)).casefold().split())
    there = [any(_says(each, folded) for each in group) for group in check.all]
    share = sum(there) / len(there) if there else 1.0
    if unwanted := next((each for each in check.none if _says(each, folded)), None):
        return bad(f"it says '{unwanted}'")
    missing = [group[0] for group, is_there in zip(check.all, there, strict=True) if not is_there]
    return bad(f"it lacks '{missing[0]}'", share) if missing else GOOD


def _says(wanted: str, folded: str) -> bool:
    """Whether it stands there, and its numbers are no parts of greater ones."""
    begin = r"(?<!\d)(?<!\d\.)" if wanted[:1].isdigit() else ""
    end = r"(?!\.?\d)" if wanted[-1:].isdigit() else ""
    return re.search(begin + re.escape(wanted.casefold()) + end, folded) is not None


def _length(check: checks.Length, text: str) -> Verdict:
    words, characters = len(words_of(text)), len(text.strip())
    sentences = len([each for each in EDGES.split(text.strip()) if words_of(each)])
    if words < (check.words_min or 0):
        return bad(f"it has {words} words")
    for count, most, unit in (
        (words, check.words_max, "words"),
        (sentences, check.sentences_max, "sentences"),
        (characters, check.characters_max, "characters"),
    ):
        if most is not None and count > most:
            return bad(f"it has {count} {unit}, more than {most}")
    return GOOD


def _tool_call(check: checks.ToolCall, expected: Any, calls: list[Call]) -> Verdict:
    if [call.name for call in calls] != [expected["name"]]:
        return bad(f"it calls {', '.join(call.name for call in calls) or 'no tool'}")
    try:
        said = msgspec.json.decode(calls[0].arguments)
    except msgspec.DecodeError:
        return bad("its arguments are no JSON")
    wanted = expected.get("arguments", {})
    right = list(compared(wanted, said, check.tolerance_share)) if wanted else [said == {}]
    if isinstance(said, dict) and said.keys() - wanted.keys():
        return bad("it has arguments too much")
    if all(right):
        return GOOD
    return bad(f"{right.count(False)} arguments are wrong", sum(right) / len(right))


def _folded(text: str) -> list[str]:
    return [word.casefold().strip(".,;:!?") for word in words_of(text[:ANSWER_MAX_CHARS])]
