"""The requests in flight, kept where a killed process leaves them: a memory-mapped file.

Each request takes one page before its engine is touched. The page holds who pays at which price,
and counters of what was delivered so far; a store to it costs less than a microsecond, and the
kernel keeps it when the process dies at any instruction. A finished request writes its terminal
record into the page first and is answered then; the page is freed only after the ledger has
committed that record. So whatever happens, one page or one row is there, and at the next start
`recover` turns every page left into its row: exactly one terminal record per request.

A page: 0 state, 1 units beside tokens, 8 seven counters, 64 the request (length and msgpack),
2048 its terminal record.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from haneul.base.errors import AlreadyRunning, Overloaded
from haneul.base.log import logger
from haneul.base.units import HOUR_US, now_us
from haneul.services.prices import Rates, cost_nano
from haneul.store.ledger import RequestRow

PAGE = 4096
PAGES_EACH = 4  # a request holds its page until its record is committed, a moment after its answer
SHORT = 8  # a page in so many must stay free
MANY = 128  # pages in use, after which those not in use any more are let go
FREE, OPEN, FINAL = 0, 1, 2
KILLED = "cloud_killed"  # why a request ended that is found open
COUNTERS, COUNTER_BYTES = struct.Struct("<7q"), 8
NO_COUNTERS = bytes(COUNTERS.size)
LENGTH = struct.Struct("<H")
COUNTERS_AT, OPENED_AT, FINAL_AT = 8, 64, 2048
COMPLETION_AT = COUNTERS_AT + 2 * COUNTER_BYTES
UNITS_BYTES = COUNTERS_AT - 1
UNITS_MAX = (1 << 8 * UNITS_BYTES) - 1
TEXT_MAX = FINAL_AT - OPENED_AT - LENGTH.size
_packed = msgspec.msgpack.Encoder().encode
log = logger("flights")


class Opened(Struct, frozen=True, kw_only=True):
    """What is known of a request before its engine is touched."""

    row: RequestRow  # state 'aborted': what it becomes if nothing more is heard of it
    rates: Rates
    hour_nano: int  # owning the chip for an hour


class Counters(Struct, kw_only=True):
    """What a request was sent so far."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    first_token_us: int = 0
    last_us: int = 0
    busy_us: int = 0
    units: int = 0  # of what is billed beside tokens

    def tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


class Flight:
    """One page: one request between its acceptance and its row in the ledger."""

    __slots__ = ("_at", "_table", "counters", "opened")

    def __init__(self, table: Flights, at: int, opened: Opened) -> None:
        self._table = table
        self._at = at
        self.opened = opened
        self.counters = Counters()

    def save(self) -> None:
        """Puts the counters where a kill leaves them."""
        counters = self.counters
        at = self._at + COUNTERS_AT
        self._table.memory[at : at + COUNTERS.size] = COUNTERS.pack(
            counters.prompt_tokens,
            counters.cached_tokens,
            counters.completion_tokens,
            counters.reasoning_tokens,
            counters.first_token_us,
            counters.last_us,
            counters.busy_us,
        )  # packed aside: packing in place writes zeroes first, and a kill may come between
        if counters.units:
            self._table.put_units(self._at, counters.units)

    def keeper(self) -> Callable[[int], None]:
        """Puts the completion's tokens alone there, for as long as this page is the request's."""
        at = (self._at + COMPLETION_AT) // COUNTER_BYTES
        return partial(self._table.words.__setitem__, at)  # one store, whole or not at all

    def finish(self, row: RequestRow) -> None:
        """Keeps the terminal record; from here on the request can be answered."""
        self._table.put(self._at + FINAL_AT, _packed(row))
        self._table.memory[self._at] = FINAL

    def reopen(self, opened: Opened) -> None:
        """Begins again under other terms, on a page of its own; the old page goes last."""
        old_at = self._at
        self._at = self._table.open(opened)._at
        self.opened = opened
        self.counters = Counters()
        self._table.release(old_at)

    def free(self) -> None:
        """Gives the page back: its row is committed."""
        self._table.release(self._at)


class Flights:
    """The file of pages. One process at a time; a second one is refused."""

    def __init__(self, path: Path, pages: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            os.close(self._file)
            raise AlreadyRunning(
                "a cloud is running on this home already: stop it, or name another with HANEUL_HOME"
            ) from cause
        size = max(os.fstat(self._file).st_size // PAGE, pages) * PAGE
        _reserve(self._file, size)
        self.memory = mmap.mmap(self._file, size)
        self.words = memoryview(self.memory).cast("q")
        self._pages = pages
        self._free = [at for at in range(0, pages * PAGE, PAGE) if self.memory[at] == FREE]
        self._unmap()

    @property
    def is_short(self) -> bool:
        """Whether hardly a page is left: commits are slower than requests."""
        return len(self._free) < self._pages // SHORT

    @property
    def in_flight(self) -> int:
        """Requests whose row is not yet committed."""
        return sum(1 for at in range(0, len(self.memory), PAGE) if self.memory[at] != FREE)

    def open(self, opened: Opened) -> Flight:
        """Takes a page. Raises Overloaded when all are taken."""
        if not self._free:
            raise Overloaded("Too many requests are in flight.", retry_after_s=2)
        at = self._free[-1]
        self.put(at + OPENED_AT, _packed(opened))
        self._free.pop()
        self.memory[at + COUNTERS_AT : at + COUNTERS_AT + COUNTERS.size] = NO_COUNTERS
        if opened.row.unit is not None:
            self.put_units(at, 0)
        self.memory[at] = OPEN
        return Flight(self, at, opened)

    def put(self, at: int, data: bytes) -> None:
        """Length and bytes. What others say was bounded before (offers.kept), so that it fits."""
        if len(data) > TEXT_MAX:
            raise ValueError(f"{len(data)} bytes do not fit a page")
        size = len(data)
        self.memory[at : at + LENGTH.size + size] = size.to_bytes(LENGTH.size, "little") + data

    def put_units(self, at: int, units: int) -> None:
        """Behind the state, where few requests have anything."""
        self.memory[at + 1 : at + COUNTERS_AT] = min(units, UNITS_MAX).to_bytes(UNITS_BYTES)

    def release(self, at: int) -> None:
        """Marks a page free."""
        self.memory[at] = FREE
        self._free.append(at)
        if len(self._free) < self._pages - MANY:
            self._were_many = True
        elif self._were_many and len(self._free) >= self._pages:
            self._unmap()

    def left(self) -> list[tuple[int, RequestRow]]:
        """The pages that a process before this one left, each with its terminal record.

        A page that cannot be read, from a damaged disk or another release, stays as it is.
        """
        found = []
        for at in range(0, len(self.memory), PAGE):
            if self.memory[at] != FREE:
                try:
                    found.append((at, self._row(at)))
                except (msgspec.DecodeError, UnicodeDecodeError) as cause:
                    log.error("page_unreadable", page=at // PAGE, reason=str(cause))
        self._unmap()
        return found

    def _unmap(self) -> None:
        """Takes the pages out of this process's memory, 8 MB of them at most.

        The file has what they hold; the few that are used again and again come back.
        """
        self._were_many = False
        if hasattr(mmap, "MADV_DONTNEED"):
            self.memory.madvise(mmap.MADV_DONTNEED)

    def _row(self, at: int) -> RequestRow:
        if self.memory[at] == FINAL:
            return msgspec.msgpack.decode(self._text(at + FINAL_AT), type=RequestRow)
        opened = msgspec.msgpack.decode(self._text(at + OPENED_AT), type=Opened)
        counters = self._counters(at)
        if opened.row.unit is not None:
            counters.units = int.from_bytes(self.memory[at + 1 : at + COUNTERS_AT])
        return aborted(opened, counters)

    def _text(self, at: int) -> bytes:
        (length,) = LENGTH.unpack_from(self.memory, at)
        return self.memory[at + LENGTH.size : at + LENGTH.size + length]

    def _counters(self, at: int) -> Counters:
        counted = COUNTERS.unpack_from(self.memory, at + COUNTERS_AT)
        return Counters(**dict(zip(Counters.__struct_fields__, counted, strict=False)))

    def close(self) -> None:
        """Writes the file back and lets another process have it."""
        self.memory.flush()
        self.words.release()
        self.memory.close()
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _reserve(file: int, size: int) -> None:
    """Takes the disk's blocks now: a full disk would kill whoever stores into a hole of the map."""
    os.truncate(file, size)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(file, 0, size)


def terminal(opened: Opened, counters: Counters, **ending: object) -> RequestRow:
    """The terminal record: what was delivered at the price that was agreed."""
    busy_us = counters.busy_us
    cost = cost_nano(
        opened.rates,
        prompt=counters.prompt_tokens,
        cached=counters.cached_tokens,
        completion=counters.completion_tokens,
        reasoning=counters.reasoning_tokens,
        units=counters.units,
    )
    return msgspec.structs.replace(
        opened.row,
        prompt_tokens=counters.prompt_tokens,
        cached_tokens=counters.cached_tokens,
        completion_tokens=counters.completion_tokens,
        reasoning_tokens=counters.reasoning_tokens,
        cost_nano=cost,
        busy_us=busy_us,
        hour_nano=round(opened.hour_nano * busy_us / HOUR_US) if opened.hour_nano else 0,
        first_token_us=counters.first_token_us or None,
        units=None if opened.row.unit is None else counters.units,
        **ending,
    )


def aborted(opened: Opened, counters: Counters) -> RequestRow:
    """The record of a request that the cloud's own end cut off."""
    return terminal(
        opened,
        counters,
        state="aborted",
        error_code=KILLED,
        metering="counted" if counters.tokens() else "none",
        finished_us=max(opened.row.received_us, counters.last_us or now_us()),
    )
