"""What a prompt looks like, in numbers: hashed words, hashed characters, counts of its shape.

The hash is arithmetic on code points alone, so that a policy means the same in every process, on
every machine and in every release of Python. All of it is a few dozen numpy calls on at most
`TEXT_MAX` characters: a long prompt is read at its beginning and its end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

HEAD_CHARACTERS = 2400
TAIL_CHARACTERS = 800
TEXT_MAX = HEAD_CHARACTERS + TAIL_CHARACTERS
SHAPE_NAMES = (
    "length",
    "words",
    "word_length",
    "newlines",
    "digits",
    "numbers",
    "capitals",
    "symbols",
    "tex",
    "code",
    "options",
    "blanks",
    "questions",
    "beyond_ascii",
    "east_asian",
    "indents",
)

_U = np.uint64
_MIX_A = _U(0xFF51AFD7ED558CCD)
_MIX_B = _U(0xC4CEB9FE1A85EC53)
_STEP = _U(0x9E3779B97F4A7C15)
_BIGRAM = _U(0xD6E8FEB86659FD93)
_SHIFT = _U(33)
_FOUR = (_U(0x9AE16A3B2F90404F), _U(0xC949D7C7509E6557), _U(0x9FB21C651E98DF25))
_ZERO = _U(48)
_SPACE, _NEWLINE, _DIGIT, _LOWER, _UPPER, _OTHER, _FAR, _EAST = range(8)


class Features(NamedTuple):
    """Hashed n-grams (numbers below `buckets` for words, from there on for characters), shape."""

    terms: Ints  # repeats kept
    shape: Floats


def _ascii_kinds() -> NDArray[np.uint8]:
    kinds = np.full(128, _OTHER, np.uint8)
    kinds[[9, 11, 12, 13, 32]] = _SPACE
    kinds[10] = _NEWLINE
    kinds[48:58] = _DIGIT
    kinds[97:123] = _LOWER
    kinds[65:91] = _UPPER
    return kinds


_KINDS = _ascii_kinds()
_FOLDED = np.arange(128, dtype=np.uint32) + np.uint32(32) * (_KINDS == _UPPER)
_GROUPS = np.array([0, 1, 2, 3, 3, 8, 3, 9], np.uint8)  # by kind; 0 is no word
_ALONE = 8
_STARTS = np.zeros((8, 8), np.uint8)  # by the kinds of two neighbours
_STARTS[[_SPACE, _NEWLINE, _LOWER, _UPPER, _OTHER, _FAR, _EAST], _DIGIT] = 1
for _kind in (_LOWER, _UPPER, _FAR, _EAST):
    _STARTS[[_SPACE, _NEWLINE, _DIGIT, _OTHER], _kind] = 2
_PLACES = np.arange(TEXT_MAX, dtype=np.uint64)


def _stirred(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A cheap hash; changes `values`, which the caller has just made."""
    values *= _MIX_A
    values ^= values >> _SHIFT
    return values


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> _SHIFT)) * _MIX_A
    values = (values ^ (values >> _SHIFT)) * _MIX_B
    return values ^ (values >> _SHIFT)


def _kinds(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    kinds = np.where(codes < 128, _KINDS[np.minimum(codes, 127)], np.uint8(_FAR))
    blank = (codes == 0xA0) | ((codes >= 0x2000) & (codes < 0x200C)) | (codes == 0x3000)
    mark = (codes > 0xA0) & (codes < 0xC0)
    mark |= (codes >= 0x2010) & (codes < 0x2C00)
    mark |= (codes >= 0x3001) & (codes < 0x3040)
    mark |= (codes >= 0xFF00) & (codes < 0xFF10)
    east = (codes >= 0x1100) & (codes < 0x1200)
    east |= (codes >= 0x3040) & (codes < 0xA000)
    east |= (codes >= 0xAC00) & (codes < 0xD7B0)
    east |= codes >= 0x20000
    kinds[blank] = _SPACE
    kinds[mark] = _OTHER
    kinds[east] = _EAST
    return kinds


def _bounded(text: str) -> str:
    if len(text) <= TEXT_MAX:
        return text
    return text[:HEAD_CHARACTERS] + "\n" + text[-TAIL_CHARACTERS + 1 :]


def read(text: str, *, buckets: int) -> Features:
    """The features of one prompt; `buckets` is a power of two, for words and characters each."""
    seen = _bounded(text) or " "
    codes = np.frombuffer(seen.encode("utf-32-le", "surrogatepass"), np.uint32)
    is_ascii = seen.isascii()
    kinds = _KINDS[codes] if is_ascii else _kinds(codes)
    folded = _FOLDED[codes] if is_ascii else codes + np.uint32(32) * (kinds == _UPPER)
    folded = folded.astype(np.uint64)
    words = _words(folded, kinds)
    terms = np.concatenate((words, _characters(folded, kinds, is_ascii=is_ascii)))
    terms &= _U(buckets - 1)
    terms[len(words) :] += _U(buckets)
    return Features(terms.view(np.int64), _shape(codes, kinds, len(text)))


def _words(folded: NDArray[np.uint64], kinds: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes of runs of letters, of digits (by their number alone), of marks; and of neighbours."""
    group = _GROUPS[kinds]
    starts_here = group >= _ALONE  # each mark and each East Asian character stands for itself
    starts_here[0] = True
    starts_here[1:] |= group[1:] != group[:-1]
    starts = starts_here.nonzero()[0]
    place = _PLACES[: len(group)] - starts.astype(np.uint64)[starts_here.cumsum() - 1]
    letters = np.where(kinds == _DIGIT, _ZERO, folded)
    sums = np.add.reduceat(_stirred(letters + place * _STEP), starts)
    tokens = _mix(sums[group[starts] != 0])
    pairs = tokens[:-1] * _BIGRAM
    pairs += tokens[1:]
    return np.concatenate((tokens, _stirred(pairs)))


def _characters(
    folded: NDArray[np.uint64], kinds: NDArray[np.uint8], *, is_ascii: bool
) -> NDArray[np.uint64]:
    """Hashes of four characters, and of one and two where the script has words that short."""
    grams = _stirred(
        folded[:-3] * _FOUR[0] + folded[1:-2] * _FOUR[1] + folded[2:-1] * _FOUR[2] + folded[3:]
    )
    if is_ascii:
        return grams
    east = kinds == _EAST
    both = east[:-1] & east[1:]
    pairs = folded[:-1][both] * _BIGRAM + folded[1:][both]
    return np.concatenate((grams, _mix(folded[east]), _mix(pairs)))


def _shape(codes: NDArray[np.uint32], kinds: NDArray[np.uint8], length: int) -> Floats:
    counts = np.bincount(kinds, minlength=8).tolist()
    if counts[_FAR] or counts[_EAST]:
        codes = np.minimum(codes, 127)
    marks = np.bincount(codes, minlength=128).tolist()
    seen = len(kinds)
    letters = counts[_LOWER] + counts[_UPPER] + counts[_FAR] + 1
    lines = (kinds[:-2] == _NEWLINE).nonzero()[0]
    after = list(zip(codes[lines + 1].tolist(), codes[lines + 2].tolist(), strict=True))
    options = sum(65 <= first <= 74 and second in (46, 41) for first, second in after)
    indents = sum(first in (9, 32) for first, _ in after)
    starts = _STARTS[kinds[:-1], kinds[1:]]  # 1: a number starts here, 2: a word
    begun = np.bincount(starts, minlength=3).tolist()
    numbers, words = begun[1], begun[2]
    tex = marks[92] + marks[36] + marks[94]
    code = marks[40] + marks[91] + marks[123] + marks[61] + marks[59] + marks[62]
    return np.array(
        (
            math.log1p(length),
            math.log1p(words),
            math.log1p(letters / (words + 1)),
            math.log1p(counts[_NEWLINE]),
            counts[_DIGIT] / seen,
            math.log1p(numbers),
            counts[_UPPER] / letters,
            counts[_OTHER] / seen,
            math.log1p(tex),
            math.log1p(code),
            math.log1p(options),
            math.log1p(marks[95]),
            math.log1p(marks[63]),
            (counts[_FAR] + counts[_EAST]) / seen,
            counts[_EAST] / seen,
            math.log1p(indents),
        ),
        np.float32,
    )
