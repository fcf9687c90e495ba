"""Which sequence of the kernel's memory holds what, and how many cells that takes.

A cell is the memory of one token at one place. A finished sequence rests: it is kept for whoever
begins alike, until its cells or its number are wanted. Pure counting: the library does the same
below, in one of two ways.

A hall is one stock of cells: sequences that begin alike share them, and a cell is free when the
last that shares it is gone. Rooms give each sequence cells of its own: what begins alike is copied,
never computed again; more memory, but no sequence slows another.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable


class Line:
    """One sequence in memory: its tokens, of which the first `computed` have cells."""

    __slots__ = ("adapter", "cells", "is_live", "number", "tokens", "used")

    def __init__(self, number: int, adapter: str = "") -> None:
        self.number = number
        self.adapter = adapter  # what was computed under one is worth nothing under another
        self.tokens: list[int] = []
        self.cells: list[int] = []
        self.is_live = True  # someone runs on it; else it rests
        self.used = 0  # when it was last of use; grows with every use

    @property
    def computed(self) -> int:
        return len(self.cells)


class Pool:
    """All cells and all lines. `room`: the cells of each line, if each has its own."""

    def __init__(self, *, cells: int, lines: int, room: int | None = None) -> None:
        self.capacity = cells
        self.room = room
        self.lines: dict[int, Line] = {}
        self.live = 0  # cells that a running sequence holds
        self._sharers = [0] * cells  # of each cell: lines that hold it
        self._live_sharers = [0] * cells
        self._free = list(range(cells - 1, -1, -1))
        self._numbers = list(range(lines))  # a heap
        self._uses = 0

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def used(self) -> int:
        return self.capacity - len(self._free)

    @property
    def has_number(self) -> bool:
        return bool(self._numbers)

    @property
    def resting(self) -> list[Line]:
        """The finished lines, the one longest without use first."""
        return sorted(
            (line for line in self.lines.values() if not line.is_live), key=lambda line: line.used
        )

    def open(self, adapter: str = "") -> Line:
        """A new empty live line; there must be a number for it.

        The lowest: the library computes neighbours among rooms in one go.
        """
        line = Line(heapq.heappop(self._numbers), adapter)
        self.lines[line.number] = line
        self._touch(line)
        return line

    def share(self, source: Line, target: Line, length: int) -> None:
        """Gives an empty live line the first tokens of another."""
        assert not target.cells
        assert source.adapter == target.adapter
        self._touch(source)
        if self.room is not None:
            self.grow(target, source.tokens[:length])
            return
        target.cells = source.cells[:length]
        target.tokens = source.tokens[:length]
        self._hold(target.cells)
        self._hold_live(target.cells)

    def grow(self, line: Line, tokens: list[int]) -> None:
        """Computed tokens get cells at a live line's end; there must be room for them."""
        new = [self._free.pop() for _ in tokens]
        del line.tokens[len(line.cells) :]
        line.tokens += tokens
        line.cells += new
        self._hold(new)
        self._hold_live(new)

    def swap(self, line: Line, number: int) -> None:
        """A line gets another number; whoever has that one gets this line's."""
        other = self.lines.pop(number, None)
        if other:
            other.number = line.number
            self.lines[line.number] = other
        else:
            del self.lines[line.number]
            self._numbers.remove(number)
            self._numbers.append(line.number)
            heapq.heapify(self._numbers)
        line.number = number
        self.lines[number] = line

    def shrink(self, line: Line, length: int) -> None:
        """A live line forgets all but its first tokens."""
        self._release_live(line.cells[length:])
        self._release(line.cells[length:])
        del line.cells[length:], line.tokens[length:]

    def rest(self, line: Line) -> None:
        """The line's work is over; what is computed stays for others."""
        line.is_live = False
        del line.tokens[len(line.cells) :]
        self._release_live(line.cells)
        self._touch(line)

    def wake(self, line: Line, length: int) -> None:
        """A resting line is run on again, from its first tokens."""
        self._release(line.cells[length:])
        del line.cells[length:], line.tokens[length:]
        line.is_live = True
        self._hold_live(line.cells)
        self._touch(line)

    def drop(self, line: Line) -> None:
        """A resting line goes, and with it the cells that only it holds."""
        assert not line.is_live
        del self.lines[line.number]
        heapq.heappush(self._numbers, line.number)
        self._release(line.cells)

    def _touch(self, line: Line) -> None:
        self._uses += 1
        line.used = self._uses

    def _hold(self, cells: Iterable[int]) -> None:
        for cell in cells:
            self._sharers[cell] += 1

    def _release(self, cells: Iterable[int]) -> None:
        for cell in cells:
            self._sharers[cell] -= 1
            if not self._sharers[cell]:
                self._free.append(cell)

    def _hold_live(self, cells: Iterable[int]) -> None:
        for cell in cells:
            self.live += not self._live_sharers[cell]
            self._live_sharers[cell] += 1

    def _release_live(self, cells: Iterable[int]) -> None:
        for cell in cells:
            self._live_sharers[cell] -= 1
            self.live -= not self._live_sharers[cell]


def common(one: list[int], other: list[int]) -> int:
    """How many first tokens two lists share."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    low, high = 0, most  # the answer is in low … high-1; slices compare in C
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
