"""Follows the text of one JSON object as it comes, letter by letter."""

from __future__ import annotations

import re

_SPACE = " \t\n\r"
_ESCAPES = '"\\/bfnrtu'
_HEX = frozenset("0123456789abcdefABCDEF")
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_WORD_LETTERS = frozenset("0123456789+-.abcdefghijklmnopqrstuvwxyzE")
_ENDS = {"{": "}", "[": "]"}
_ENDABLE = ("comma", "key or end", "value or end")
WORD_MAX_CHARS = 400
DEPTH_MAX = 100


class JsonText:
    """Knows when the object is whole and whether the next letter can stand where it comes.

    A control character in a string is no JSON, but models write line breaks there: `take` gives
    back what is to be written for each letter.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self._open: list[str] = []  # "{" and "[" that wait for their ends
        self._wants = "object"  # what may come next
        self._word = ""  # of a number, true, false or null
        self._escape = 0  # letters of an escape that are to come; -1: its first

    @property
    def depth(self) -> int:
        """How many objects and lists are open."""
        return len(self._open)

    def take(self, letter: str) -> str:
        """What stands for the letter in valid JSON. Raises ValueError when it cannot stand here."""
        if self._wants in ("text", "key text"):
            return self._take_text(letter)
        if self._word:
            if letter in _WORD_LETTERS and len(self._word) < WORD_MAX_CHARS:
                self._word += letter
                return letter
            if not _WORD.fullmatch(self._word):
                raise ValueError(self._word)
            self._word, self._wants = "", "comma"
        if letter not in _SPACE:
            self._take_mark(letter)
        return letter

    def _take_text(self, letter: str) -> str:
        if self._escape < 0:
            if letter not in _ESCAPES:
                raise ValueError(letter)
            self._escape = 4 if letter == "u" else 0
        elif self._escape:
            if letter not in _HEX:
                raise ValueError(letter)
            self._escape -= 1
        elif letter == "\\":
            self._escape = -1
        elif letter == '"':
            self._wants = "colon" if self._wants == "key text" else "comma"
        elif letter < " ":
            return f"\\u{ord(letter):04x}"
        return letter

    def _take_mark(self, letter: str) -> None:
        wants = self._wants
        if wants == "object" and letter == "{":
            self._begin(letter)
        elif letter == '"' and wants in ("key", "key or end"):
            self._wants = "key text"
        elif letter == ":" and wants == "colon":
            self._wants = "value"
        elif letter == "," and wants == "comma":
            self._wants = "key" if self._open[-1] == "{" else "value"
        elif _ENDS.get(self._open[-1] if self._open else "") == letter and wants in _ENDABLE:
            self._end()
        elif wants in ("value", "value or end"):
            self._begin(letter)
        else:
            raise ValueError(letter)

    def _begin(self, letter: str) -> None:
        """A value begins."""
        if letter in "{[":
            if len(self._open) == DEPTH_MAX:
                raise ValueError(letter)
            self._open.append(letter)
            self._wants = "key or end" if letter == "{" else "value or end"
        elif letter == '"':
            self._wants = "text"
        elif letter in "-0123456789tfn":
            self._word = letter
        else:
            raise ValueError(letter)

    def _end(self) -> None:
        self._open.pop()
        self.is_whole = not self._open
        self._wants = "" if self.is_whole else "comma"
