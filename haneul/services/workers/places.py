"""How many are inside each engine and how many wait, of all workers: a memory-mapped file.

Each worker has cells of its own in the row of a gate, and only it writes them, under the file's
lock: what it has inside, what waits, and since when its first one waits. So the sums are right
whoever dies, and the cells of one that died are emptied by who finds it dead. The row also keeps
the engine's clock (see `gate.Busy`) and its health (see `health`). Nothing here is money: a kill in
the middle of a change can cost an engine's clock one interval, and no more.
"""

from __future__ import annotations

import mmap
import os
import time
from fcntl import LOCK_EX, LOCK_UN, flock
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from haneul.services.gate import KEPT, LEFT_MIN

WORD = 8
ROWS = 1024  # gates of one cloud's life
# words of the head: how many rows; then the calls of each worker
COUNT, CALLS = 0, 1
# words of a row: the gate's name, its clock, its target's health; then for each worker what it has
# inside, what waits, and since when
NAME, SHARE, AT, BUSY, STAYS, LEFT, HEALTH, CELLS = 0, 2, 3, 4, 5, 6, 8, 14
FINE = 1_000_000
BILLION = 1_000_000_000


class Places:
    """One worker's view of the shared file."""

    def __init__(self, path: Path, *, workers: int, slot: int) -> None:
        self.slot = slot
        self.workers = workers
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._row = CELLS + 3 * workers
        self._head = CALLS + workers
        size = (self._head + ROWS * self._row) * WORD
        if os.fstat(self._file).st_size < size:
            os.truncate(self._file, size)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(self._file, 0, size)
        self._memory = mmap.mmap(self._file, size)
        self.words = memoryview(self._memory).cast("q")

    def row(self, name: str) -> Row | None:
        """The row of a gate, the same for all workers; None when there is no room."""
        digest = blake2b(name.encode(), digest_size=16).digest()
        with self:
            for number in range(self.words[COUNT]):
                at = self._head + number * self._row
                if self._memory[at * WORD : at * WORD + 16] == digest:
                    return Row(self, at)
            if (number := self.words[COUNT]) == ROWS:
                return None
            at = self._head + number * self._row
            self._memory[at * WORD : at * WORD + 16] = digest
            self.words[at + AT] = time.monotonic_ns()
            self.words[COUNT] = number + 1
            return Row(self, at)

    # calls in progress
    def set_calls(self, count: int) -> None:
        self.words[CALLS + self.slot] = count

    @property
    def calls(self) -> int:
        """Of all workers."""
        return sum(self.words[CALLS : CALLS + self.workers])

    def empty(self, slot: int) -> None:
        """Takes out whatever a worker that died had in its cells."""
        with self:
            self.words[CALLS + slot] = 0
            for number in range(self.words[COUNT]):
                row = Row(self, self._head + number * self._row)
                row.advance()
                for cells in (row.taken_at, row.waiting_at, row.since_at):
                    self.words[cells + slot] = 0

    def __enter__(self) -> Self:
        flock(self._file, LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        flock(self._file, LOCK_UN)

    def close(self) -> None:
        """Lets go of the file."""
        self.words.release()
        self._memory.close()
        os.close(self._file)


class Row:
    """One gate in the file. What changes something is called inside `with places:`."""

    __slots__ = (
        "_at",
        "_slot",
        "_words",
        "_workers",
        "places",
        "since_at",
        "taken_at",
        "waiting_at",
    )

    def __init__(self, places: Places, at: int) -> None:
        self.places = places
        self._words = places.words
        self._slot, self._workers = places.slot, places.workers
        self._at = at
        self.taken_at = at + CELLS
        self.waiting_at = self.taken_at + self._workers
        self.since_at = self.waiting_at + self._workers

    @property
    def taken(self) -> int:
        """Inside, of all workers."""
        return sum(self._words[self.taken_at : self.waiting_at])

    @property
    def waiting(self) -> int:
        return sum(self._words[self.waiting_at : self.since_at])

    @property
    def busy_s(self) -> float:
        return self._words[self._at + BUSY] / BILLION

    @property
    def idle_s(self) -> float:
        """Since the last request left; 0 while one is inside."""
        passed_ns = time.monotonic_ns() - self._words[self._at + AT]
        return 0.0 if self.taken else passed_ns / BILLION

    @property
    def stay_s(self) -> float | None:
        """How long a request stays inside, by those of late; None until some have left."""
        left = self._words[self._at + LEFT] / FINE
        return self._words[self._at + STAYS] / left / BILLION if left > LEFT_MIN else None

    def get(self, word: int) -> int:
        """One of the words before the cells."""
        return self._words[self._at + word]

    def set(self, word: int, value: int) -> None:
        self._words[self._at + word] = value

    def next_worker(self) -> int | None:
        """Whose request has waited longest; None where nobody waits."""
        since = self._words[self.since_at : self.since_at + self._workers]
        first = min((each for each in since if each), default=0)
        return since.tolist().index(first) if first else None

    def put(self, *, taken: int = 0, waiting: int, since_ns: int) -> None:
        """Notes what this worker has: so many more inside, so many that wait, the first since."""
        words, slot = self._words, self._slot
        words[self.taken_at + slot] += taken
        words[self.waiting_at + slot] = waiting
        words[self.since_at + slot] = since_ns

    def take(self) -> None:
        self._words[self.taken_at + self._slot] += 1

    def leave(self) -> None:
        """One of this worker's has left."""
        words, at = self._words, self._at
        words[self.taken_at + self._slot] -= 1
        words[at + STAYS] = int(words[at + STAYS] * KEPT)
        words[at + LEFT] = int(words[at + LEFT] * KEPT) + FINE

    def advance(self) -> int:
        """Moves the engine's clock to now; what one inside since the beginning has had, in ns."""
        words, at, now = self._words, self._at, time.monotonic_ns()
        if taken := self.taken:
            passed = now - words[at + AT]
            words[at + SHARE] += passed // taken
            words[at + STAYS] += passed * taken
            words[at + BUSY] += passed
        words[at + AT] = now
        return words[at + SHARE]
