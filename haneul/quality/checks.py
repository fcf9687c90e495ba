"""What can be looked at in an answer: one struct for each kind of check, as suites write it.

A field's default is what a suite gets that does not say it. docs/concepts/quality.md is the format.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Few = Annotated[int, Meta(ge=0, le=1_000_000)]
Take = Literal["all", "first_line", "last_line"]


class Verdict(Struct, frozen=True):
    """What a check says of an answer: good or not, how good from 0 to 1, and why not."""

    is_passed: bool
    score: float
    reason: str | None = None


GOOD = Verdict(True, 1.0)


def bad(reason: str, score: float = 0.0) -> Verdict:
    """An answer that is not good enough, and why."""
    return Verdict(False, score, reason)


class Check(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """One look at an answer."""


class Exact(Check, frozen=True, tag="exact"):
    """The answer is one of the expected texts, but for blanks, quotes and its last full stop."""

    take: Take = "all"
    fold_case: bool = True


class Label(Check, frozen=True, tag="label"):
    """Of all labels the answer names the expected one, and no other."""

    labels: Annotated[list[str], Meta(min_length=2, max_length=200)]


class Regex(Check, frozen=True, tag="regex"):
    """The pattern is found in the answer, or is not, where `found` is false."""

    pattern: Annotated[str, Meta(min_length=1, max_length=2000)]
    found: bool = True
    fold_case: bool = True


class Numeric(Check, frozen=True, tag="numeric"):
    """A number of the answer is the expected one within either tolerance."""

    take: Literal["last", "first", "only"] = "last"
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    tolerance_share: Share = 0.0
    units: dict[str, float] = {}  # what one of each is in the expected number's unit
    unit_needed: bool = False


class Json(Check, frozen=True, tag="json"):
    """The answer holds JSON of the schema, and every expected value."""

    schema: dict[str, Any] = {}
    bare: bool = False  # nothing may stand around it
    tolerance_share: Share = 0.0  # of numbers


class Contains(Check, frozen=True, tag="contains"):
    """Of each group one text stands in the answer, and none of the others does."""

    all: list[list[str]] = []
    none: list[str] = []


class Length(Check, frozen=True, tag="length"):
    """The answer is no longer and no shorter."""

    words_min: Few | None = None
    words_max: Few | None = None
    sentences_max: Few | None = None
    characters_max: Few | None = None


class Copied(Check, frozen=True, tag="copied"):
    """No more words in a row than this are the question's own."""

    words_max: Annotated[int, Meta(ge=1, le=1000)]


class UnitTest(Check, frozen=True, tag="unit_test"):
    """The Python of the answer passes the case's `tests` in a sandbox."""

    deadline_s: Annotated[float, Meta(gt=0, le=60)] = 10.0


class ToolCall(Check, frozen=True, tag="tool_call"):
    """The answer calls the expected tool with the expected arguments, and no other."""

    tolerance_share: Share = 0.0  # of numbers among the arguments


AnyCheck = Exact | Label | Regex | Numeric | Json | Contains | Length | Copied | UnitTest | ToolCall
EXPECTING = (Exact, Label, Numeric, ToolCall)  # these need the case's `expected`
