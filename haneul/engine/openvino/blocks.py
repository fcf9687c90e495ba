"""A mirror of OpenVINO's cache of computed prompts: which beginnings it has, to the token.

The pipeline does not say how much of a prompt it took from its cache, and that is what is paid for
and what a step's size is planned by. Its bookkeeping is simple and knows no chance, so it is kept
here a second time, move by move: blocks of 32 tokens under a key of all tokens up to their end;
blocks that no sequence holds stay until their place is needed, oldest touched first.
Source: openvino.genai 2026.4, block_manager.hpp; held equal to it by a test.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from hashlib import blake2b
from itertools import count

BLOCK_TOKENS = 32
Key = bytes


def chain(before: Key, tokens: list[int]) -> Key:
    """The key of the tokens that follow those of another key, in one block."""
    return blake2b(before + array("q", tokens).tobytes(), digest_size=16).digest()


class _Block:
    __slots__ = ("holders", "key", "touched")

    def __init__(self, touched: int) -> None:
        self.key = b""
        self.holders = 0
        self.touched = touched


class Sequence:
    """One sequence that is computed: its tokens so far, and the blocks it holds."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.prompt_tokens = len(tokens)
        self.computed = 0
        self.table: list[_Block] = []
        self._keys: list[Key] = []

    def key(self, length: int) -> Key:
        """Of the first `length` tokens, one at least."""
        whole = length // BLOCK_TOKENS
        while len(self._keys) < whole:
            start = len(self._keys) * BLOCK_TOKENS
            part = self.tokens[start : start + BLOCK_TOKENS]
            self._keys.append(chain(self._before(len(self._keys)), part))
        rest = length % BLOCK_TOKENS
        if not rest:
            return self._keys[whole - 1]
        return chain(self._before(whole), self.tokens[whole * BLOCK_TOKENS : length])

    def _before(self, block: int) -> Key:
        return self._keys[block - 1] if block else b""


class Blocks:
    """All blocks of one pipeline. Every method mirrors one move of the pipeline."""

    def __init__(self, total: int) -> None:
        self._clock = count()
        self._free = deque(_Block(next(self._clock)) for _ in range(total))
        self._idle: dict[Key, _Block] = {}  # held by nobody, still whole
        self._oldest: list[tuple[int, int, Key, _Block]] = []  # of the idle ones; some entries old
        self._order = count()
        self._known: dict[Key, _Block] = {}
        self.total = total

    @property
    def held(self) -> int:
        """Blocks that sequences hold now."""
        return self.total - len(self._free) - len(self._idle)

    def found(self, sequence: Sequence, length: int | None = None) -> list[int]:
        """The ends, in tokens, of the blocks that are there for a prompt's beginning."""
        limit = sequence.prompt_tokens if length is None else length
        ends: list[int] = []
        start = 0
        while start < limit:
            end = min(start + BLOCK_TOKENS, limit)
            if not self._has(sequence.key(end)):
                ends += self._part(sequence, start, end)
                break
            ends.append(end)
            start = end
        return ends

    def take(self, sequence: Sequence) -> int:
        """A sequence comes in: it holds what is there. The number of its tokens found."""
        ends = self.found(sequence)
        for end in ends:
            key = sequence.key(end)
            block = self._idle.pop(key, None) or self._known[key]
            block.holders += 1
            block.touched = next(self._clock)
            sequence.table.append(block)
        if ends:
            last = ends[-1]
            sequence.computed = last - 1 if last == sequence.prompt_tokens else last
        return sequence.computed

    def read(self, sequence: Sequence) -> None:
        """The rest of the prompt is computed in one step."""
        unused = -sequence.computed % BLOCK_TOKENS
        missing = sequence.prompt_tokens - sequence.computed - unused
        if missing > 0:
            self._allot(sequence, -(-missing // BLOCK_TOKENS))
        sequence.computed = sequence.prompt_tokens

    def write(self, sequence: Sequence) -> None:
        """One more token, known already, is computed; its successor follows."""
        sequence.computed += 1
        needed = -(-sequence.computed // BLOCK_TOKENS)
        if needed > len(sequence.table):
            self._allot(sequence, needed - len(sequence.table))
            return
        last = sequence.table[-1]
        key = sequence.key(sequence.computed)
        if last.holders > 1:  # others hold it as it is: we go on in a copy
            sequence.table[-1] = self._fresh(key)
            self._let_go(last)
        else:
            self._known.pop(last.key, None)
            last.key = key
            self._known[key] = last

    def drop(self, sequence: Sequence) -> None:
        """A sequence has ended. What it held stays for others while there is room."""
        for block in sequence.table:
            self._let_go(block)
        sequence.table = []

    def _has(self, key: Key) -> bool:
        return key in self._idle or key in self._known

    def _part(self, sequence: Sequence, start: int, end: int) -> list[int]:
        for length in range(start + 1, min(start + BLOCK_TOKENS, end)):
            if self._has(sequence.key(length)):
                return [length]
        return []

    def _allot(self, sequence: Sequence, blocks: int) -> None:
        if sequence.table:
            last = sequence.table[-1]
            key = sequence.key(len(sequence.table) * BLOCK_TOKENS)
            if last.key != key:
                self._known.pop(last.key, None)
                last.key = key
                self._known[key] = last
        end = len(sequence.table) * BLOCK_TOKENS
        for _ in range(blocks):
            end = min(end + BLOCK_TOKENS, len(sequence.tokens))
            sequence.table.append(self._fresh(sequence.key(end)))

    def _fresh(self, key: Key) -> _Block:
        if self._free:
            block = self._free.popleft()
        else:
            block = self._evicted()
            self._known.pop(block.key, None)
            block.touched = next(self._clock)
        block.holders += 1
        block.key = key
        self._known[key] = block
        return block

    def _evicted(self) -> _Block:
        while True:
            touched, _, key, block = heapq.heappop(self._oldest)
            if self._idle.get(key) is block and block.touched == touched:
                del self._idle[key]
                return block

    def _let_go(self, block: _Block) -> None:
        block.holders -= 1
        if block.holders:
            return
        twin = self._idle.pop(block.key, None)
        if twin is not None:
            self._free.append(twin)
            if self._known.get(block.key) is twin:
                self._known[block.key] = block
        self._idle[block.key] = block
        heapq.heappush(self._oldest, (block.touched, next(self._order), block.key, block))
        if len(self._oldest) > 2 * self.total + BLOCK_TOKENS:  # most are of blocks taken again
            self._oldest = [
                (idle.touched, next(self._order), key, idle) for key, idle in self._idle.items()
            ]
            heapq.heapify(self._oldest)
