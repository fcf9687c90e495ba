"""Personal data in a text: where, and of what kind.

Patterns propose, the libraries of the extra `haneul[guard]` decide: python-stdnum by check digits
and dates, phonenumbers by the number plans of the world. Neither needs a model or a download.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from haneul.base.errors import GuardUnavailable, UnsupportedValue

EMAIL, IBAN, RRN, CARD, IP, PHONE = "EMAIL", "IBAN", "RRN", "CARD", "IP", "PHONE"
KINDS = (EMAIL, IBAN, RRN, CARD, IP, PHONE)  # where two overlap the first is meant
# A number without a country's code is read as one of these; others are found with their code.
REGIONS = ("KR", "US", "GB", "JP", "FR")
PHONE_DIGITS, PHONE_GROUPS = (7, 15), 6  # of a telephone number
CARD_DIGITS, CARD_GROUPS = range(13, 20), 5
CHECKS_MAX = 50_000  # telephone numbers that may be in one text: seconds of looking

_LOCAL = r"\w.!#$%&*+?^{|}~-"
# Korean words go on right behind what they speak of, so only Latin letters and digits belong to it.
_BEFORE, _BEHIND = r"(?<![A-Za-z0-9_.:])", r"(?![A-Za-z0-9_])"
_PATTERNS: dict[str, re.Pattern[str]] = {
    EMAIL: re.compile(
        rf"(?<![{_LOCAL}])[{_LOCAL}]+@(?:\w[\w-]*\.)+(?:[A-Za-z][A-Za-z0-9-]*|[^\W\d_a-zA-Z]+)"
    ),
    IBAN: re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]{2}\d\d(?=[A-Za-z0-9 -]{11})"),
    RRN: re.compile(r"(?<!\d)\d{6}[ -]?[1-8]\d{6}(?!\d)"),
    CARD: re.compile(r"(?<![\d.])[0-9](?:[ -]?[0-9]){11,}(?!\d)"),
    IP: re.compile(
        rf"{_BEFORE}(?:\d{{1,3}}(?:\.\d{{1,3}}){{3}}|(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{{2,39}}"
        rf"(?:\.\d{{1,3}}){{0,3}})(?![A-Za-z0-9_:]|\.\d)"
    ),
    PHONE: re.compile(rf"(?<![A-Za-z0-9_.])[+(]?\d[\d ()./~-]{{5,}}\d{_BEHIND}"),
}
_MORE = re.compile(r"[A-Za-z0-9 -]{15,44}")  # of an account's number
_RUNS = (CARD, PHONE)  # whose patterns take all numbers beside each other
_DECIMAL = re.compile(r"\d+\.\d+")


Span = tuple[int, int]


class Found(NamedTuple):
    """One piece of personal data."""

    begin: int
    end: int
    kind: str


class Budget:
    """How many more numbers are looked at in one text."""

    def __init__(self) -> None:
        self._left = CHECKS_MAX

    def take(self) -> None:
        """Raises UnsupportedValue when there are too many."""
        self._left -= 1
        if self._left < 0:
            raise UnsupportedValue("A text holds more numbers than a guard looks through.")


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
        self._tests: dict[str, Callable[[re.Match[str], Budget], Iterator[Span]]] = {
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
        left = text  # with what was found blanked, so that its neighbours are seen by themselves
        budget = Budget()
        for kind in KINDS:
            if kind == EMAIL and "@" not in text:
                continue
            mine = [Found(begin, end, kind) for begin, end in self._of(kind, left, budget)]
            left = _blanked(left, mine)
            found += mine
        return sorted(found)

    def _of(self, kind: str, text: str, budget: Budget) -> Iterator[Span]:
        """The pieces of one kind; where a pattern was mistaken another may begin within it."""
        at = 0
        while match := _PATTERNS[kind].search(text, at):
            spans = [*self._tests[kind](match, budget)]
            yield from spans
            at = spans[-1][1] if spans else match.end() if kind in _RUNS else match.start() + 1

    def _ibans(self, match: re.Match[str], budget: Budget) -> Iterator[Span]:
        """Words that follow an account's number look like more of it."""
        begin = match.start()
        rest = _MORE.match(match.string, begin)
        ends = [one.end() for one in re.finditer(r"[A-Za-z0-9]+", rest[0])] if rest else []
        for end in reversed(ends):
            if self._iban.is_valid(match.string[begin : begin + end].replace("-", "").upper()):
                yield begin, begin + end
                return

    def _rrns(self, match: re.Match[str], budget: Budget) -> Iterator[Span]:
        """By its date: numbers given since October 2020 have no check digit."""
        try:
            self._rrn.get_birth_date(re.sub("[ -]", "", match[0]), allow_future=False)
        except self._invalid:
            return
        yield match.span()

    def _cards(self, match: re.Match[str], budget: Budget) -> Iterator[Span]:
        """A card's number stands in one piece, or in groups of which the first has four digits."""

        def card(begin: int, end: int) -> Span | None:
            text = match.string[begin:end]
            sizes = [len(group) for group in re.split("[ -]", text)]
            is_grouped = sizes[0] == 4 and all(3 <= size <= 6 for size in sizes)
            if text[0] not in "23456" or sum(sizes) not in CARD_DIGITS:
                return None
            is_one = len(sizes) == 1 or is_grouped
            return (
                (begin, end) if is_one and self._luhn.is_valid(re.sub("[ -]", "", text)) else None
            )

        return _rows(match, r"[0-9]+", card, most=CARD_GROUPS)

    def _numbers(self, match: re.Match[str], budget: Budget) -> Iterator[Span]:
        """Of numbers beside each other each, the longest that is one."""

        def number(begin: int, end: int) -> Span | None:
            text = match.string[begin:end].rstrip(").-")
            if text.startswith("(") and ")" not in text:
                begin, text = begin + 1, text[1:]
            digits = sum(map(str.isdigit, text))
            if not PHONE_DIGITS[0] <= digits <= PHONE_DIGITS[1] or _DECIMAL.fullmatch(text):
                return None
            budget.take()
            return (begin, begin + len(text)) if self._is_number(text) else None

        return _rows(match, r"[^ /~]+", number, most=PHONE_GROUPS)

    def _is_number(self, text: str) -> bool:
        for region in (None,) if text.startswith("+") else REGIONS:
            try:
                if self._phones.is_valid_number(self._phones.parse(text, region)):
                    return True
            except self._phones.NumberParseException:
                continue
        return False


def _rows(
    match: re.Match[str], group: str, is_one: Callable[[int, int], Span | None], *, most: int
) -> Iterator[Span]:
    """Of groups beside each other the rows that are one, the longest first, none within another."""
    spans = [
        (match.start() + one.start(), match.start() + one.end())
        for one in re.finditer(group, match[0])
    ]
    first = 0
    while first < len(spans):
        last = min(first + most, len(spans))
        while last > first and (span := is_one(spans[first][0], spans[last - 1][1])) is None:
            last -= 1
        if last > first and span is not None:
            yield span
        first = max(first + 1, last)


def _blanked(text: str, found: list[Found]) -> str:
    """The text with the same length, where nothing stands any more that was found."""
    parts, at = [], 0
    for each in found:
        parts += [text[at : each.begin], "\0" * (each.end - each.begin)]
        at = each.end
    return "".join([*parts, text[at:]]) if parts else text


def _whole(match: re.Match[str], budget: Budget) -> Iterator[Span]:
    yield match.span()


def _addresses(match: re.Match[str], budget: Budget) -> Iterator[Span]:
    text = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return
    if any(map(str.isdigit, text)):  # a::b is a name in some programs
        yield match.start(), match.start() + len(text)
