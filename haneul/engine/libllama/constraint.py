"""Answers that must have a shape: which tokens may come next, by the llguidance library.

A constraint becomes one grammar in llguidance's Lark dialect, from which it computes a mask of
tokens at each step, in tens of microseconds, and the tokens that must come in any case.
"""

from __future__ import annotations

import ctypes as c
import json
import re
from typing import Any

import llguidance
import numpy as np

from haneul.base.errors import BadRequest, EngineFailed, UnsupportedValue
from haneul.engine.libllama.sampling import Allowed
from haneul.engine.libllama.vocabulary import Vocabulary
from haneul.engine.worker.job import Branch, Constraint

SPACE = r"( |\n {0,16})?"  # between the parts of JSON: else a weak model may write it for ever
_UNKNOWN = ("Unimplemented", "not supported", "Default retriever", "too large", "too complex")


class Grammars:
    """Makes the grammars of one vocabulary. Making it takes a second for a large one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._marks: dict[str, int] = {}
        words = []
        for token in range(vocabulary.size):
            data = vocabulary.special(token)
            if vocabulary.is_special(token):
                self._marks[data.decode(errors="replace")] = token
                data = b"\xff" + data  # llguidance's sign for what stands for no text
            words.append(data)
        marks = sorted((re.escape(mark) for mark in self._marks if mark), key=len, reverse=True)
        self._mark = re.compile("|".join(marks) or r"(?!)")
        self._tokens: Any = llguidance.LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=words,
            vocab_ptr=vocabulary.vocab,
            tokenize_fptr=c.cast(vocabulary.library.tokenize, c.c_void_p).value,
            eos_token=sorted(vocabulary.ends),
            slices=None,
        )

    def start(self, constraint: Constraint) -> Guide:
        """The grammar at its beginning. Raises BadRequest, or UnsupportedValue."""
        matcher = llguidance.LLMatcher(self._tokens, self.lark(constraint), log_level=0)
        if error := matcher.get_error():
            raise _refusal(error)
        return Guide(matcher)

    def lark(self, constraint: Constraint) -> str:
        """The grammar of a constraint as text."""
        units = [self._branch(branch) for branch in constraint.branches]
        if not units:
            raise BadRequest("The answer is to have a shape, but none is given.")
        more = f"{self._literal(constraint.separator)} unit".strip()
        rest = f" ({more})*" if constraint.is_repeated else ""
        return f"start: unit{rest}\nunit: " + "\n    | ".join(units)

    def _branch(self, branch: Branch) -> str:
        parts = [self._literal(branch.head)]
        if branch.schema is not None:
            schema = {**branch.schema, "x-guidance": {"whitespace_pattern": SPACE}}
            parts.append(f"%json {json.dumps(schema)}")
        if branch.regex:
            try:
                parts.append(f"/{llguidance.regex_to_lark(branch.regex)}/")
            except ValueError as cause:
                raise _refusal(str(cause)) from cause
        parts.append(self._literal(branch.tail))
        return " ".join(filter(None, parts)) or '""'

    def _literal(self, text: str) -> str:
        """Text as the grammar writes it: special tokens by their numbers, the rest in quotes."""
        parts, end = [], 0
        for found in self._mark.finditer(text):
            if found.start() > end:
                parts.append(json.dumps(text[end : found.start()], ensure_ascii=False))
            parts.append(f"<[{self._marks[found[0]]}]>")
            end = found.end()
        if end < len(text):
            parts.append(json.dumps(text[end:], ensure_ascii=False))
        return " ".join(parts)


class Guide:
    """One answer's place in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    @property
    def is_over(self) -> bool:
        """Whether the answer is whole and nothing may follow."""
        return self._matcher.is_stopped()

    def allowed(self) -> Allowed | None:
        """Which tokens may come next. Raises EngineFailed."""
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise EngineFailed(f"The answer's grammar is too hard: {self._matcher.get_error()}")
        bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
        return bits.view(np.bool_)

    def accept(self, token: int, *, is_forcing: bool) -> list[int]:
        """Takes note of a token; gives those that must follow it, already taken note of."""
        if not self._matcher.consume_token(token):
            raise EngineFailed("The kernel chose a token that the answer's grammar forbids.")
        if not is_forcing or self._matcher.is_stopped():
            return []
        forced = self._matcher.compute_ff_tokens()
        count = self._matcher.try_consume_tokens(forced) if forced else 0
        return forced[:count]


def _refusal(error: str) -> BadRequest:
    reason = error.strip().split("\n")[0][:300]
    kind = UnsupportedValue if any(word in error for word in _UNKNOWN) else BadRequest
    return kind(f"The shape of the answer cannot be enforced: {reason}")
