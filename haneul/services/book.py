"""Budgets that several processes of one machine share: a memory-mapped file under a file lock.

Each owner has a column: what was spent and what is reserved on each of the last 64 UTC days, and
ever; and how fast it goes on, in requests and tokens by minute. A reservation is an entry that
belongs to the process that made it. Every change is one transaction: its new values are written
into a journal, the journal is marked valid, the values are stored, the mark is taken away. Whoever
takes the lock after a process was killed in between stores them again, so that a change happens
wholly or not at all at whatever instruction the kill comes. The entries of a process that died are
found by its lock, which the kernel gave back; somebody who knows what became of the request (its
page in `flights`) settles each exactly once.

The file lives as long as its cloud: at a start it is made anew from the ledger's sums. A cloud that
answers in one process keeps the same sums in `purse`, and does without the lock.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock, lockf
from pathlib import Path
from types import TracebackType
from typing import Self

from haneul.base.errors import Overloaded
from haneul.services.holds import (
    AT_ONCE,
    TOKEN_RATE,
    Hold,
    Left,
    Pace,
    Refused,
    Sums,
    TooFast,
)

WORD = 8
DAYS = 64  # longer than any month, so that a month and the day before it are there
OWNERS_HELD = 4  # at most, that one request is paid by
# words of the head
COUNT, HOLDERS, MARK, JOURNAL, JOURNAL_MAX = 0, 1, 2, 8, 2040
HEAD = JOURNAL + JOURNAL_MAX
# words of an entry: who holds it, how much, the cells it is set aside in, tokens, whose request
ENTRY, HOLDER, NANO, CELLS, TOKENS, MARKED = 8, 0, 1, 2, 6, 7
RATED_BITS = OWNERS_HELD  # of the word of tokens: the owners whose rate they were taken from
# words of an owner: its name (length and bytes), the newest day, what was spent before the days
# that are kept, its rates, how many requests run, then for each day what was spent and reserved
NEWEST, BEFORE, RATES, RUNNING = 16, 17, 18, 24
RATE, PER_MINUTE, LEVEL, AT = 3, 0, 1, 2  # words of a rate; its level in millionths
DAY_SPENT = 25
DAY_RUNS = DAY_SPENT + DAYS
OWNER = DAY_RUNS + DAYS
NANO_MAX = 1 << 50  # of one request, some 1,100,000 in the currency; 8,000 of them fit a word
TOKENS_MAX = 1 << 48
FINE = 1_000_000
MINUTE_US = 60_000_000


class Book:
    """One process's view of the shared file."""

    def __init__(
        self,
        path: Path,
        *,
        entries: int,
        owners: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock  # one for all processes of a machine
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._alive = os.open(
            path.with_suffix(".alive"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self._entries_at, self._owners_at = HEAD, HEAD + entries * ENTRY
        self._entries, self._owners = entries, owners
        size = (self._owners_at + owners * OWNER) * WORD
        self._names: dict[str, int] = {}
        flock(self._file, LOCK_EX)
        try:
            if os.fstat(self._file).st_size < size:
                os.truncate(self._file, size)
                os.posix_fallocate(self._file, 0, size)
            self._memory = mmap.mmap(self._file, size)
            self._words = memoryview(self._memory).cast("q")
            self._redo()
            self.holder = self._words[HOLDERS] + 1
            lockf(self._alive, LOCK_EX | LOCK_NB, 1, self.holder)
            self._words[HOLDERS] = self.holder
        finally:
            flock(self._file, LOCK_UN)

    # owners
    def known(self, name: str) -> int | None:
        """The place of an owner that somebody opened already."""
        if (found := self._names.get(name)) is None:
            self._read_names()
            found = self._names.get(name)
        return found

    def open(self, name: str, *, day: int, before_nano: int, days: list[tuple[int, int]]) -> int:
        """The place of an owner; its past counts only if nobody has opened it yet.

        Every process opens an owner before it reserves for it, so that whoever opens it first reads
        a past that nobody adds to. Raises Overloaded when there is no room.
        """
        if (found := self.known(name)) is not None:
            return found
        with self:
            self._read_names()
            if name in self._names:
                return self._names[name]
            at = self._owners_at + self._words[COUNT] * OWNER
            if self._words[COUNT] == self._owners:
                raise Overloaded("Too many keys are in use at once.", retry_after_s=60)
            text = name.encode()
            self._words[at : at + OWNER] = memoryview(bytes(OWNER * WORD)).cast("q")
            head = len(text).to_bytes(WORD, "little") + text
            self._memory[at * WORD : at * WORD + len(head)] = head
            self._words[at + NEWEST] = day
            self._words[at + BEFORE] = before_nano
            for spent_on, nano in days:
                is_kept = day - DAYS < spent_on <= day
                place = at + DAY_SPENT + spent_on % DAYS if is_kept else at + BEFORE
                self._words[place] += nano
            self._words[COUNT] += 1  # from here on it is there
            self._names[name] = at
            return at

    # money and rates
    def reserve(
        self,
        entry: int,
        day: int,
        owners: list[int],
        holds: Sequence[Hold],
        nano: int,
        *,
        paces: Sequence[Pace] = (),
        tokens: int = 0,
        mark: int = 0,
    ) -> Refused | TooFast | None:
        """Sets an amount aside for all owners at once, or says which limit does not allow it.

        `mark` stands for the request, for whoever settles the entry of a process that died.
        """
        words = self._words
        flock(self._file, LOCK_EX)
        try:
            if words[MARK]:
                self._redo()
            at = self._entries_at + entry * ENTRY
            if words[at + HOLDER] or not (0 <= nano < NANO_MAX and 0 <= tokens < TOKENS_MAX):
                raise ValueError(f"entry {entry} is held, or {nano} and {tokens} are no amounts")
            for owner in owners:
                if words[owner + NEWEST] < day:
                    self._turn(owner, day)
            for hold in holds:
                left = hold.amount - self._used(owners[hold.at], hold)
                if left <= 0 or (nano > left and hold.first_day != AT_ONCE):
                    return Refused(hold, left)
            changes = [at + HOLDER, self.holder]
            rated = 0
            if paces:
                slow = self._paced(changes, owners, paces, tokens)
                if slow is not None:
                    return slow
                for pace in paces:
                    rated |= pace.what << pace.at  # those of tokens
            words[at + NANO] = nano  # an entry that nobody holds yet means nothing
            words[at + TOKENS] = (tokens << RATED_BITS) + rated
            words[at + MARKED] = mark
            cells = day % DAYS + DAY_RUNS
            for place in range(OWNERS_HELD):
                cell = owners[place] + cells if place < len(owners) else 0
                words[at + CELLS + place] = cell
                if cell:
                    runs = owners[place] + RUNNING
                    changes += (cell, words[cell] + nano, runs, words[runs] + 1)
            self._commit(changes)
            return None
        finally:
            flock(self._file, LOCK_UN)

    def settle(
        self, entry: int, cost_nano: int, tokens: int = 0, *, holder: int | None = None
    ) -> bool:
        """Gives an entry back and books what it came to; False where it was settled before."""
        words = self._words
        at = self._entries_at + entry * ENTRY
        flock(self._file, LOCK_EX)
        try:
            if words[MARK]:
                self._redo()
            if words[at + HOLDER] != (holder or self.holder):
                return False
            nano, rated = words[at + NANO], words[at + TOKENS]
            more = (tokens - (rated >> RATED_BITS)) * FINE
            changes = [at + HOLDER, 0]
            for place in range(OWNERS_HELD):
                if cell := words[at + CELLS + place]:
                    spent, owner = cell - DAYS, self._owner_of(cell)
                    changes += (cell, words[cell] - nano, spent, words[spent] + cost_nano)
                    changes += (owner + RUNNING, words[owner + RUNNING] - 1)
                    if rated & 1 << place:
                        self._take(changes, owner, TOKEN_RATE, more)
            self._commit(changes)
            return True
        finally:
            flock(self._file, LOCK_UN)

    def _paced(
        self, changes: list[int], owners: list[int], paces: Sequence[Pace], tokens: int
    ) -> TooFast | None:
        """Adds what is taken from the rates, unless one does not have it."""
        for pace in paces:
            rate = owners[pace.at] + RATES + pace.what * RATE
            amount = tokens if pace.what == TOKEN_RATE else 1
            level = self._level(rate, pace.per_minute)
            missing = min(amount, pace.per_minute) * FINE - level
            if missing > 0:
                return TooFast(pace, missing * 60 / FINE / pace.per_minute)
            changes += (rate + PER_MINUTE, pace.per_minute, rate + LEVEL, level - amount * FINE)
            changes += (rate + AT, self._now_us())
        return None

    def _take(self, changes: list[int], owner: int, what: int, fine: int) -> None:
        """Below zero if need be: what was used beyond a reservation is owed."""
        rate = owner + RATES + what * RATE
        level = self._level(rate, self._words[rate + PER_MINUTE])
        changes += (rate + LEVEL, level - fine, rate + AT, self._now_us())

    def _level(self, rate: int, per_minute: int) -> int:
        """What a rate has now, in millionths; what was used under another limit stays used."""
        before, level, at_us = self._words[rate : rate + RATE]
        if not before:
            return per_minute * FINE
        full = before * FINE
        level = min(full, level + (self._now_us() - at_us) * full // MINUTE_US)
        return level + per_minute * FINE - full

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)

    def _owner_of(self, cell: int) -> int:
        return cell - (cell - self._owners_at) % OWNER

    def level(self, owner: int, what: int, per_minute: int) -> float:
        """What a rate has now; an estimate, as others take from it meanwhile."""
        return self._level(owner + RATES + what * RATE, per_minute) / FINE

    def lefts(self, owners: list[int], holds: Sequence[Hold]) -> list[int]:
        """What each limit has left now."""
        with self:
            return [hold.amount - self._used(owners[hold.at], hold) for hold in holds]

    def sums(self, owner: int) -> Sums:
        """What an owner spent ever, has reserved, and how many of its requests run."""
        with self:
            runs = sum(self._words[owner + DAY_RUNS : owner + DAY_RUNS + DAYS])
            days = sum(self._words[owner + DAY_SPENT : owner + DAY_SPENT + DAYS])
            spent, running = self._words[owner + BEFORE] + days, self._words[owner + RUNNING]
        return Sums(spent, runs, running)

    def left(self) -> list[Left]:
        """The entries of processes that died, each to be settled by whoever knows its cost."""
        with self:
            held = [
                Left(entry, self._words[at], self._words[at + NANO], self._words[at + MARKED])
                for entry in range(self._entries)
                if self._words[at := self._entries_at + entry * ENTRY]
            ]
        dead = {each.holder for each in held if self._is_dead(each.holder)}
        return [each for each in held if each.holder in dead]

    def _is_dead(self, holder: int) -> bool:
        if holder == self.holder:
            return False
        with suppress(OSError):
            lockf(self._alive, LOCK_EX | LOCK_NB, 1, holder)
            lockf(self._alive, LOCK_UN, 1, holder)
            return True
        return False

    def _used(self, owner: int, hold: Hold) -> int:
        """Spent and reserved in a period; or how many run."""
        words = self._words
        newest = words[owner + NEWEST]
        if hold.first_day == AT_ONCE:
            return words[owner + RUNNING]
        if hold.first_day < 0:
            return words[owner + BEFORE] + sum(words[owner + DAY_SPENT : owner + OWNER])
        last = hold.last_day if hold.last_day < newest else newest
        first = hold.first_day if hold.first_day > newest - DAYS else newest - DAYS + 1
        if first > last:
            return 0  # nothing has been asked for in it yet
        start, end = first % DAYS + owner, last % DAYS + 1 + owner
        if start < end:
            runs = sum(words[DAY_RUNS + start : DAY_RUNS + end])
            return sum(words[DAY_SPENT + start : DAY_SPENT + end]) + runs
        runs = sum(words[DAY_RUNS + start : DAY_RUNS + DAYS + owner])
        runs += sum(words[DAY_RUNS + owner : DAY_RUNS + end])
        spent = sum(words[DAY_SPENT + start : DAY_SPENT + DAYS + owner])
        return spent + sum(words[DAY_SPENT + owner : DAY_SPENT + end]) + runs

    def _turn(self, owner: int, day: int) -> None:
        """Makes room for the days up to this one, in the cells of those longest past.

        Nothing runs for so long that its cell is taken.
        """
        newest, before = self._words[owner + NEWEST], self._words[owner + BEFORE]
        changes = [owner + NEWEST, day]
        for later in range(max(newest, day - DAYS) + 1, day + 1):
            cell = owner + DAY_SPENT + later % DAYS
            before += self._words[cell]
            changes += (cell, 0)
        self._commit([*changes, owner + BEFORE, before])

    # one change, wholly or not at all
    def _commit(self, changes: list[int]) -> None:
        """Stores values at words, given in turn; the lock is held."""
        words, count = self._words, len(changes)
        struct.pack_into(f"{count}q", self._memory, JOURNAL * WORD, *changes)
        words[MARK] = count
        for at in range(0, count, 2):
            words[changes[at]] = changes[at + 1]
        words[MARK] = 0

    def _redo(self) -> None:
        """Stores again what a process that was killed was about to store."""
        words, count = self._words, self._words[MARK]
        for at in range(JOURNAL, JOURNAL + count, 2):
            words[words[at]] = words[at + 1]
        words[MARK] = 0

    def _read_names(self) -> None:
        for number in range(len(self._names), self._words[COUNT]):
            at = self._owners_at + number * OWNER
            length = self._words[at]
            name = self._memory[(at + 1) * WORD : (at + 1) * WORD + length].decode()
            self._names[name] = at

    def __enter__(self) -> Self:
        flock(self._file, LOCK_EX)
        if self._words[MARK]:
            self._redo()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        flock(self._file, LOCK_UN)

    def close(self) -> None:
        """Lets go of the file; what this process still holds is found by `left`."""
        self._words.release()
        self._memory.close()
        os.close(self._file)
        os.close(self._alive)
