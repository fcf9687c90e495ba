"""Personal data in a text: where, and of what kind.

Patterns propose, the libraries of the extra `haneul[guard]` decide: python-stdnum by check digits
and dates, phonenumbers by the number plans of the world. Neither needs a model or a download.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from haneul.base.errors import GuardUnavailable

EMAIL, IBAN, RRN, CARD, IP, PHONE = "EMAIL", "IBAN", "RRN", "CARD", "IP", "PHONE"
KINDS = (EMAIL, IBAN, RRN, CARD, IP, PHONE)  # where two overlap the first is meant
# A number without a country's code is read as one of these; others are found with their code.
REGIONS = ("KR", "US", "GB", "JP", "FR")
DIGITS_MIN = 7  # of a telephone number

_LOCAL = r"\w.!#$%&*+?^{|}~-"
# Korean words go on right behind what they speak of, so only Latin letters and digits belong to it.
_BEFORE, _BEHIND = r"(?<![A-Za-z0-9_.:])", r"(?![A-Za-z0-9_])"
_PATTERNS: dict[str, re.Pattern[str]] = {
    EMAIL: re.compile(
        rf"(?<![{_LOCAL}])[{_LOCAL}]+@(?:\w[\w-]*\.)+(?:[A-Za-z][A-Za-z0-9-]*|[^\W\d_a-zA-Z]+)"
    ),
    IBAN: re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]{2}\d\d(?=[A-Za-z0-9 -]{11})"),
    RRN: re.compile(r"(?<!\d)\d{6}[ -]?[1-8]\d{6}(?!\d)"),
    CARD: re.compile(r"(?<![\d.])[2-6](?:[ -]?\d){11,18}(?!\d)"),
    IP: re.compile(
        rf"{_BEFORE}(?:\d{{1,3}}(?:\.\d{{1,3}}){{3}}|(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{{2,39}}"
        rf"(?:\.\d{{1,3}}){{0,3}})(?![A-Za-z0-9_:]|\.\d)"
    ),
    PHONE: re.compile(rf"(?<![A-Za-z0-9_.])[+(]?\d[\d ()./~-]{{5,}}\d{_BEHIND}"),
}
_MORE = re.compile(r"[A-Za-z0-9 -]{15,44}")  # of an account's number
_DECIMAL = re.compile(r"\d+\.\d+")
ONE_MAX = 24  # characters that one number may have
PIECE = 120  # of a run of numbers that is looked through at a time


class Found(NamedTuple):
    """One piece of personal data."""

    begin: int
    end: int
    kind: str


class Finder:
    """Knows what is personal. Raises GuardUnavailable where the extra is not installed."""

    def __init__(self) -> None:
        try:  # imported only where a guard is switched on: it is an extra
            import phonenumbers
            from stdnum import iban, luhn
            from stdnum.exceptions import ValidationError
            from stdnum.kr import rrn
        except ImportError as cause:
            raise GuardUnavailable() from cause
        self._phones: Any = phonenumbers
        self._iban, self._luhn, self._rrn = iban, luhn, rrn
        self._invalid = ValidationError
        self._tests: dict[str, Callable[[re.Match[str]], Iterator[tuple[int, int]]]] = {
            EMAIL: _whole,
            IBAN: self._ibans,
            RRN: self._rrns,
            CARD: self._cards,
            IP: _addresses,
            PHONE: self._numbers,
        }

    def find(self, text: str) -> list[Found]:
        """Every piece, from the first to the last; none overlaps another."""
        found: list[Found] = []
        taken = bytearray(len(text))
        for kind in KINDS:
            if kind == EMAIL and "@" not in text:
                continue
            for match in _PATTERNS[kind].finditer(text):
                for begin, end in self._tests[kind](match):
                    if taken.find(1, begin, end) < 0:
                        taken[begin:end] = b"\1" * (end - begin)
                        found.append(Found(begin, end, kind))
        return sorted(found)

    def _ibans(self, match: re.Match[str]) -> Iterator[tuple[int, int]]:
        """Words that follow an account's number look like more of it."""
        begin = match.start()
        rest = _MORE.match(match.string, begin)
        ends = [one.end() for one in re.finditer(r"[A-Za-z0-9]+", rest[0])] if rest else []
        for end in reversed(ends):
            if self._iban.is_valid(match.string[begin : begin + end].replace("-", "").upper()):
                yield begin, begin + end
                return

    def _rrns(self, match: re.Match[str]) -> Iterator[tuple[int, int]]:
        """By its date: numbers given since October 2020 have no check digit."""
        try:
            self._rrn.get_birth_date(re.sub("[ -]", "", match[0]), allow_future=False)
        except self._invalid:
            return
        yield match.span()

    def _cards(self, match: re.Match[str]) -> Iterator[tuple[int, int]]:
        if self._luhn.is_valid(re.sub("[ -]", "", match[0])):
            yield match.span()

    def _numbers(self, match: re.Match[str]) -> Iterator[tuple[int, int]]:
        text, begin = match[0], match.start()
        if text[0] == "(" and ")" not in text:
            text, begin = text[1:], begin + 1
        if _DECIMAL.fullmatch(text) or sum(map(str.isdigit, text)) < DIGITS_MIN:
            return
        if len(text) <= ONE_MAX and self._is_number(text):
            yield begin, begin + len(text)
        elif len(text) > ONE_MAX:
            yield from self._several(text, begin)

    def _several(self, text: str, at: int) -> Iterator[tuple[int, int]]:
        """Numbers that stand beside each other, in pieces that overlap by one number."""
        for begin in range(0, len(text), PIECE - ONE_MAX):
            for region in REGIONS:
                for one in self._phones.PhoneNumberMatcher(text[begin : begin + PIECE], region):
                    yield at + begin + one.start, at + begin + one.end

    def _is_number(self, text: str) -> bool:
        regions = (None,) if text.startswith("+") else REGIONS
        for region in regions:
            try:
                if self._phones.is_valid_number(self._phones.parse(text, region)):
                    return True
            except self._phones.NumberParseException:
                continue
        return False


def _whole(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    yield match.span()


def _addresses(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    text = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return
    if any(map(str.isdigit, text)):  # a::b is a name in some programs
        yield match.start(), match.start() + len(text)
