"""Files on their way to clients: from the disk to the socket by the kernel, past our memory.

A few threads do it, none for longer than a socket takes at once, so that neither a slow disk nor a
slow client holds the event loop or another client up. A pull holds two file numbers and no memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from haneul.base.errors import Unavailable
from haneul.base.log import logger
from haneul.services.call import Call

THREADS = 4
PIECE_BYTES = 4 << 20  # at most at a time, where the socket takes so much
READ_BYTES = 256 << 10  # where the kernel cannot do it alone
NONE = -1
log = logger("hub")


@runtime_checkable
class Lends(Protocol):
    """A connection whose socket can be written to directly."""

    async def lend(self) -> int | None: ...
    def take_back(self) -> None: ...


class Sending:
    """One file on its way: what is left of it, and who hears how much went."""

    def __init__(
        self, call: Call, *, at: int, count: int, idle_s: float, on_sent: Callable[[int], None]
    ) -> None:
        self.call = call
        self.at = at
        self.left = count
        self._idle_s = idle_s
        self._on_sent = on_sent
        self.file = self.out = NONE  # file numbers of our own
        self.running: asyncio.Future[int] | None = None  # what a thread does with them now

    def sent(self, count: int) -> None:
        """So much more went; the next piece has as long again."""
        self.at += count
        self.left -= count
        self._on_sent(count)
        self.call.within(self._idle_s)

    def close(self) -> None:
        """Closes the numbers, once no thread uses them."""
        if self.running is not None and not self.running.done():
            self.running.add_done_callback(self._close)
        else:
            self._close(self.running)

    def _close(self, done: asyncio.Future[int] | None) -> None:
        is_done = done is not None and not done.cancelled() and done.exception() is None
        if is_done and done is not None and self.file == NONE:
            self.file = done.result()  # opened for somebody who has gone
        for number in (self.file, self.out):
            if number != NONE:
                os.close(number)
        self.file = self.out = NONE


class Sender:
    """Owns the threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="hub")

    async def aclose(self) -> None:
        """Ends the threads; what they do at the moment ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send(self, one: Sending, path: Path, size: int, begin: Callable[[], None]) -> None:
        """The bytes of a file of that size, behind the head that `begin` makes.

        Raises Unavailable where the file is not there; then nothing was begun.
        """
        try:
            one.file = await self._do(one, _open, path, size)
            begin()
            one.call.write(b"", is_last=not one.left)
            if one.left:
                one.sent(0)
                await self._pieces(one)
        finally:
            one.close()

    async def _do(self, one: Sending, job: Callable[..., int], *arguments: object) -> int:
        """In a thread, which ends what it does also where nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        one.running = loop.run_in_executor(self._threads, job, *arguments)
        return await asyncio.shield(one.running)

    async def _pieces(self, one: Sending) -> None:
        line = one.call.line
        socket = await line.lend() if isinstance(line, Lends) else None
        if not isinstance(line, Lends) or socket is None:
            await self._through_memory(one)
            return
        one.out = os.dup(socket)  # the connection may end while a thread writes
        try:
            while one.left:
                await self._piece(one)
        except OSError:  # the client has gone
            one.call.abort()
            return
        line.take_back()
        one.call.write(b"", is_last=True)

    async def _piece(self, one: Sending) -> None:
        size = min(one.left, PIECE_BYTES)
        try:
            count = await self._do(one, os.sendfile, one.out, one.file, one.at, size)
        except BlockingIOError:
            await _writable(one.out)
            return
        if not count:
            raise OSError("the file is shorter than it was")
        one.sent(count)

    async def _through_memory(self, one: Sending) -> None:
        loop = asyncio.get_running_loop()
        while one.left:
            size = min(one.left, READ_BYTES)
            data = await loop.run_in_executor(self._threads, os.pread, one.file, size, one.at)
            if not data:
                one.call.abort()
                return
            await one.call.send(data, more=len(data) < one.left)
            one.sent(len(data))


def _open(path: Path, size: int) -> int:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as cause:
        log.warning("blob_missing", blob=path.name)
        raise Unavailable("That file is not here at the moment.") from cause
    if os.fstat(file).st_size != size:
        os.close(file)
        log.warning("blob_of_another_size", blob=path.name)
        raise Unavailable("That file is not here at the moment.")
    return file


async def _writable(number: int) -> None:
    """Returns when the socket takes something."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(number, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(number)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
