"""Numbers in a text as people write them: thousands signs, fractions, 3만 5천, and their units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from msgspec import Struct

THOUSANDS = ",'_\u2019\u202f\u2009"
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<sign>[-+\u2212]\s?)?[$€£¥₩]?"
    rf"(?:(?P<whole>\d{{1,3}}(?:[{THOUSANDS}]\d{{3}})+(?!\d)|\d+)(?P<part>\.\d+)?|(?P<less>\.\d+))"
    r"(?:\s*/\s*(?P<under>[1-9]\d*)(?![\d/]))?"
)
NARROW = re.compile(r"(?<=\d)[\u202f\u2009](?=\d{3}(?!\d))")
VULGAR = re.compile(r"(?<![\d.])(\d{0,15})\s?([\u00bc-\u00be\u2150-\u215e])")
RAISED = re.compile(
    r"(?<![\d.])(\d{1,15}(?:\.\d{1,15})?)([\u00b2\u00b3\u00b9\u2070\u2074-\u2079]{1,2})"
)
POWERS = {"백": 100, "百": 100, "천": 1000, "千": 1000}
GREAT = {"만": 10**4, "万": 10**4, "萬": 10**4, "억": 10**8, "亿": 10**8, "億": 10**8}
ALONE = re.compile(r"(?<!\w)(?<!\d\s)(?=[천만억]\s?원)")  # 만 원 is 1만 원
POWER = re.compile(rf"\s?([{''.join(POWERS)}]?)([{''.join(GREAT)}]?)")
UNIT = re.compile(r"\s?([^\s\d,.;:!?()\[\]{}*]+(?:\s?/\s?[^\s\d,.;:!?()]+)?)")


class Number(Struct, frozen=True):
    """A number, and the word that follows it; None: nothing does."""

    value: float
    unit: str | None = None


def plain(text: str) -> str:
    """The text with wide digits made narrow and marks of emphasis and formulas removed."""
    text = NARROW.sub("_", text)  # before NFKC makes them blanks, and ½ and ² digits
    text = VULGAR.sub(lambda match: str(int(match[1] or 0) + unicodedata.numeric(match[2])), text)
    text = RAISED.sub(_power, text)
    text = unicodedata.normalize("NFKC", text)
    return re.sub(r"\*\*|__|\\[()\[\]]|\\boxed|\\text|\$(?!\d)", " ", text)


def _power(match: re.Match[str]) -> str:
    power = float(match[1]) ** int(unicodedata.normalize("NFKC", match[2]))
    return f"{power:f}".rstrip("0").rstrip(".")


def numbers(text: str) -> list[Number]:
    """Every number of a text, in its order."""
    text = plain(text)
    text = ALONE.sub("1", text)
    found: list[Number] = []
    at, open_end = 0, -1
    while match := NUMBER.search(text, at):
        whole = re.sub(r"\D", "", match["whole"] or "0")
        value = float(whole + (match["part"] or match["less"] or ""))
        value = value / int(match["under"]) if match["under"] else value
        value = -value if (match["sign"] or "+").strip() in "-\u2212" else value
        power = POWER.match(text, match.end())
        at = match.end()
        if power and power[0].strip():
            value *= POWERS.get(power[1], 1) * GREAT.get(power[2], 1)
            at = power.end()
        unit = UNIT.match(text, at)
        number = Number(value, unit[1] if unit else None)
        if open_end >= 0 and not text[open_end : match.start()].strip():  # 3만 5천 is one number
            number = Number(found.pop().value + value, number.unit)
        found.append(number)
        open_end = at if power and power[0].strip() else -1
    return found


def scaled(number: Number, units: Mapping[str, float]) -> tuple[float, bool]:
    """The value in the unit that all are measured in, and whether its own was one of them."""
    word = (number.unit or "").casefold()
    known = {name.casefold(): factor for name, factor in units.items()}
    for name in sorted(known, key=len, reverse=True):
        is_word = name.isascii() and name[-1].isalpha()
        if word == name or (word.startswith(name) and not is_word):
            return number.value * known[name], True
    return number.value, False
