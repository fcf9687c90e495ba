"""A suite: a folder of settings (`suite.toml`) and cases (JSON lines), read strictly.

What is wrong is refused with its file and line. docs/concepts/quality.md is the format, and
`format` in the file its version.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest
from haneul.quality import checks, shapes
from haneul.quality.checks import EXPECTING, AnyCheck
from haneul.quality.looking import Asked

SHIPPED = Path(__file__).with_name("suites")
SETTINGS = "suite.toml"
SETTINGS_MAX_BYTES = 256 << 10
CASES_MAX_BYTES = 64 << 20
CASES_MAX = 100_000
T = TypeVar("T")
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
File = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,100}$")]
Words = Annotated[str, Meta(min_length=1, max_length=32_768)]


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How models are asked; the names are those of the protocol."""

    max_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] = 256
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: list[str] | None = None
    reasoning_effort: str | None = None
    thinking_budget: Annotated[int, Meta(ge=0)] | None = None
    response_format: dict[str, Any] | None = None


class JudgeTerms(Struct, frozen=True, forbid_unknown_fields=True):
    """How a judge compares an answer with the case's reference, and what it is measured on."""

    rubric: Words
    pairs: File  # of pairs whose better one is known


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: Words


class Case(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One question and what is looked at in its answer."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]
    cluster: Annotated[str, Meta(max_length=100)] = ""  # of one template; "": none has it but this
    level: Annotated[int, Meta(ge=1, le=5)] = 1  # how hard it is
    prompt: Words | None = None
    messages: list[Message] = []  # instead of a prompt, where there was talk before
    expected: Any = None
    tests: Words | None = None  # Python
    tools: list[dict[str, Any]] = []
    checks: list[AnyCheck] = []  # instead of the suite's
    reference: Words | None = None  # what a judge compares with

    @property
    def question(self) -> str:
        """All that is asked, as one text."""
        return self.prompt or "\n".join(message.content for message in self.messages)

    def asked(self) -> Asked:
        """What the checks know of it."""
        return Asked(question=self.question, expected=self.expected, tests=self.tests)


class Pair(Struct, frozen=True, forbid_unknown_fields=True):
    """Two answers to one question; the first is known to be the better."""

    id: Annotated[str, Meta(min_length=1, max_length=100)]
    question: Words
    better: Words
    worse: Words


class _Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: Literal[1]
    name: Name
    version: Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")]
    licence: Annotated[str, Meta(min_length=1, max_length=200)]
    language: Annotated[list[str], Meta(min_length=1)]
    task: Words
    system: Words | None = None
    cases: File = "cases.jsonl"
    parameters: Parameters = Parameters()
    checks: list[AnyCheck] = []
    judge: JudgeTerms | None = None


class Suite(Struct, frozen=True, kw_only=True):
    """A suite as it was read."""

    name: str
    version: str
    licence: str
    language: list[str]
    task: str
    system: str | None
    parameters: Parameters
    checks: list[AnyCheck]
    cases: list[Case]
    rubric: str | None = None
    pairs: list[Pair] = []

    @property
    def digest(self) -> str:
        """Of all that it says."""
        return digest_of(self)

    def checks_of(self, case: Case) -> list[AnyCheck]:
        return case.checks or self.checks

    def case_digest(self, case: Case) -> str:
        """Of all that is asked and looked at, but not of the case's name and level."""
        asked = msgspec.structs.replace(case, id="c", cluster="", level=1)
        return digest_of([self.system, asked, self.checks_of(case), self.rubric])


def digest_of(value: Any) -> str:
    """SHA-256 of a value's JSON, its names in order."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def shipped() -> list[str]:
    """The names of the suites that come with haneul."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{SETTINGS}"))


def find(text: str) -> Path:
    """The folder of a suite that is named or lies somewhere. Raises BadRequest."""
    if text in shipped():
        return SHIPPED / text
    if (Path(text) / SETTINGS).is_file():
        return Path(text)
    raise BadRequest(f"no suite '{text}': {', '.join(shipped())}, or a folder with {SETTINGS}")


def read(folder: Path) -> Suite:
    """The suite of a folder. Raises BadRequest with the file and line of what is wrong."""
    settings = _settings(folder / SETTINGS)
    for number, check in enumerate(settings.checks, 1):
        _check_check(check, f"{SETTINGS}: check {number}")
    cases = list(_lines(folder / settings.cases, Case))
    if not cases:
        raise BadRequest(f"{settings.cases}: it holds no case")
    _refuse_twice(settings.cases, [(line, case.id) for line, case in cases], "id")
    _refuse_twice(settings.cases, [(line, case.question) for line, case in cases], "question")
    for line, case in cases:
        _check_case(settings, case, f"{settings.cases}:{line}")
    judge = settings.judge
    pairs = [pair for _, pair in _lines(folder / judge.pairs, Pair)] if judge else []
    return Suite(
        name=settings.name,
        version=settings.version,
        licence=settings.licence,
        language=settings.language,
        task=settings.task,
        system=settings.system,
        parameters=settings.parameters,
        checks=settings.checks,
        cases=[case for _, case in cases],
        rubric=judge.rubric if judge else None,
        pairs=pairs,
    )


def _settings(path: Path) -> _Settings:
    data = _bytes(path, SETTINGS_MAX_BYTES)
    try:
        return msgspec.convert(tomllib.loads(data.decode()), _Settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise BadRequest(f"{path.name}: {cause}") from cause
    except msgspec.ValidationError as cause:
        line = _line_of(data.decode(), str(cause))
        raise BadRequest(f"{path.name}{line}: {cause}") from cause


def _line_of(text: str, reason: str) -> str:
    """':12' of the field that a reason names, where it stands in the file."""
    named = re.search(r"\$\.(?:[\w\[\].]+\.)?(\w+)`?$", reason) or re.search(
        r"unknown field `(\w+)`", reason
    )
    found = named and re.search(rf"^\s*{named[1]}\s*=", text, re.M)
    return f":{text[: found.end()].count(chr(10)) + 1}" if found else ""


def _bytes(path: Path, most: int) -> bytes:
    """A regular file of the folder, which is no device, no pipe and no link out of it."""
    try:
        real = path.resolve(strict=True)
        if not real.is_file() or real.parent != path.parent.resolve():
            raise BadRequest(f"{path.name}: it is no regular file of its folder")
        with real.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, RuntimeError) as cause:  # RuntimeError: links in a circle
        reason = getattr(cause, "strerror", None) or "it leads to itself"
        raise BadRequest(f"{path.name}: {reason}") from cause
    if len(data) > most:
        raise BadRequest(f"{path.name}: it is larger than {most >> 10} KiB")
    return data


def _lines(path: Path, kind: type[T]) -> Iterator[tuple[int, T]]:
    """Each line that is not blank, with its number. Raises BadRequest."""
    decoder = msgspec.json.Decoder(kind)
    for number, line in enumerate(_bytes(path, CASES_MAX_BYTES).split(b"\n"), 1):
        if number > CASES_MAX:
            raise BadRequest(f"{path.name}: it has more than {CASES_MAX} lines")
        if line.strip():
            try:
                yield number, decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
                raise BadRequest(f"{path.name}:{number}: {cause}") from cause


def _refuse_twice(name: str, found: list[tuple[int, str]], what: str) -> None:
    first: dict[str, int] = {}
    for line, text in found:
        if text in first:
            raise BadRequest(f"{name}:{line}: the same {what} as in line {first[text]}")
        first[text] = line


def _check_case(settings: _Settings, case: Case, where: str) -> None:
    """Raises BadRequest for a case that could not be asked, or of which nothing is looked at."""
    looked_at = case.checks or settings.checks
    if (case.prompt is None) == (not case.messages):
        raise BadRequest(f"{where}: it needs either `prompt` or `messages`")
    if not looked_at:
        raise BadRequest(f"{where}: nothing is looked at: neither it nor the suite has `checks`")
    for check in looked_at:
        if isinstance(check, EXPECTING) and case.expected is None:
            raise BadRequest(f"{where}: its check needs `expected`")
        if isinstance(check, checks.Numeric) and not _is_number(case.expected):
            raise BadRequest(f"{where}: `expected` is no number")
        if isinstance(check, checks.Label) and case.expected not in check.labels:
            raise BadRequest(f"{where}: `expected` is none of the labels")
        if isinstance(check, checks.ToolCall) and not _is_call(case.expected):
            raise BadRequest(f"{where}: `expected` needs `name` and `arguments`")
        if isinstance(check, checks.UnitTest) and case.tests is None:
            raise BadRequest(f"{where}: its check needs `tests`")
        _check_check(check, where)


def _check_check(check: AnyCheck, where: str) -> None:
    if isinstance(check, checks.Json):
        try:
            shapes.check_schema(check.schema)
        except BadRequest as cause:
            raise BadRequest(f"{where}: {cause.message}") from cause
    if isinstance(check, checks.Regex):
        try:
            re.compile(check.pattern)
        except re.error as cause:
            raise BadRequest(f"{where}: its pattern is none: {cause}") from cause


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_call(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("arguments", {}), dict)
    )
