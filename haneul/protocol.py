"""HTTP/1.1 for clients: one connection, its requests one after another, each a Call with a task.

It exists because a request's way through a general server costs more than all that haneul does with
it. httptools parses; everything has a bound: heads by size, number and time, bodies that nobody
reads, answers that nobody takes, requests sent ahead. One sweep keeps all deadlines, so that a
request costs no timer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import httptools

from haneul.base.again import body_at, learn
from haneul.base.errors import (
    BadRequest,
    HaneulError,
    HeadTooLarge,
    Overloaded,
    RequestTimeout,
)
from haneul.services.call import Call, Found
from haneul.services.dialect import Errors
from haneul.services.http_lines import PHRASES, date, origin_form, whole

HEAD_MAX_BYTES = 64 << 10
HEADERS_MAX = 256
AHEAD_MAX = 16  # requests sent before the first of them is answered
MISSES_MAX = 8  # heads that are learnt for nothing: then each is another
NONE: frozenset[bytes] = frozenset()
UNREAD_MAX_BYTES = 256 << 10  # of a body that nobody has asked for yet
Answer = Callable[[Call], Awaitable[None]]
ErrorsOf = Callable[[str], Errors]


class Connection(asyncio.Protocol):
    """A connection whose request heads must come within 15 s, 64 KiB and 256 headers."""

    head_s = 15.0
    keep_alive_s = 75.0  # between two requests
    linger_s = 5.0  # for a client that is still sending what will not be read
    stall_s = 60.0  # for a client to take some more of an answer that is made

    def __init__(self, answer: Answer, errors_of: ErrorsOf, present: set[Connection]) -> None:
        self._answer = answer
        self._errors_of = errors_of
        self._present = present
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._running: Call | None = None
        self._reading: Call | None = None  # whose body comes; perhaps not the running one
        self._ahead: deque[Call] = deque()
        self._is_in_head = False
        self._head_bytes = 0
        self._is_refused = False
        self._is_last = False  # no request is taken after the running one
        self._is_paused = self._is_chunked = False
        self.is_stalled = False  # the client has to take something before more is written
        self.is_too_many = False  # of all connections: it is told so and closed
        self.since = time.monotonic()  # it has had no request
        self._found: Found | None = None  # the last head that can be known again
        self._misses = 0  # heads that were learnt since one was known
        self._drained: asyncio.Future[None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self._deadline = self.since + self.head_s
        self._late: Callable[[], None] = self._head_is_late
        self._unsent = 0

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._is_local = not isinstance(transport.get_extra_info("sockname"), tuple)
        if self.is_too_many:
            self._is_refused = True
            error = Overloaded("Too many connections are open.", retry_after_s=5)
            self._transport.write(whole(error, self._errors_of("")))
            self._transport.close()
            return
        self._present.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._present.discard(self)
        self._ahead.clear()
        if self._running is not None:
            self._running.hang_up()
        self.resume_writing()
        # What refers back to this connection goes now: cycles would wait for a collection.
        self._running = self._reading = self._found = None
        self._late = _nothing
        del self._parser

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        is_first = self._running is None and self._reading is None and not self._is_in_head
        if is_first:
            found = self._found
            if found is not None and (start := body_at(found.known, data)) and not self._is_last:
                self._start_again(found, data, start)
                return
            self._expect_head(len(data))
        elif self._is_in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_last = True  # what it wants to become is not spoken here; it is answered
        except httptools.HttpParserError:
            self._refuse(BadRequest("That is not an HTTP request."))
            return
        if self._is_in_head and self._head_bytes > HEAD_MAX_BYTES:
            self._refuse(HeadTooLarge())
        elif is_first and self._misses < MISSES_MAX:
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        """Keeps the head of a request that came in one piece, to know it when it comes again."""
        call = self._running
        if call is None or not call.has_body or call.repeated or call.is_old or self._is_last:
            return
        self._misses += 1
        if (known := learn(data, call.headers, self._count)) is not None:
            self._found = call.found = Found(known, call)

    def _start_again(self, found: Found, data: bytes, start: int) -> None:
        """Begins a request whose head is known and whose body is there."""
        length, headers = len(data) - start, found.headers
        if length != found.known.length:
            headers = {**headers, b"content-length": b"%d" % length}
        self._deadline, self._misses = math.inf, 0
        call = Call(
            self,
            found.errors,
            method=found.method,
            path=found.path,
            query=found.query,
            headers=headers,
            repeated=NONE,
            is_local=self._is_local,
            found=found,
            body=data[start:],
        )
        self._start(call)

    def pause_writing(self) -> None:
        self.is_stalled = True

    def resume_writing(self) -> None:
        self.is_stalled = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self.on_drained is not None:
            self.on_drained()

    # httptools
    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: set[bytes] = set()
        self._count = self._size = 0
        if not self._is_in_head:
            self._expect_head(0)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._count += 1
        self._size += len(name) + len(value)
        if name in self._headers:
            self._repeated.add(name)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._deadline = math.inf
        if self._size + len(self._url) > HEAD_MAX_BYTES or self._count > HEADERS_MAX:
            self._refuse(HeadTooLarge())
        if self._is_refused:
            return
        method = self._parser.get_method()
        target, _, query = self._url.partition(b"?")
        if method == b"CONNECT" or not self._url.isascii():
            self._refuse(BadRequest("That is not an HTTP request."))
            return
        if not target.startswith(b"/"):
            target = origin_form(target)
        path = target.decode()
        path = unquote(path) if "%" in path else path
        self._reading = call = Call(
            self,
            self._errors_of(path),
            method=method.decode(),
            path=path,
            query=query.decode(),
            headers=self._headers,
            repeated=self._repeated,
            is_local=self._is_local,
            is_old=self._parser.get_http_version() == "1.0",
        )
        if self._running is None:
            self._start(call)
        elif len(self._ahead) < AHEAD_MAX:
            self._ahead.append(call)
        else:
            self._refuse(BadRequest("Too many requests were sent ahead."))

    def on_body(self, body: bytes) -> None:
        call = self._reading
        if call is None or call.is_answered:
            return
        if call.take(body) > UNREAD_MAX_BYTES and not call.wants_body:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        call, self._reading = self._reading, None
        if call is None or self._is_refused:
            return
        if not self._parser.should_keep_alive():
            self._is_last = True
        self._read_on()  # what was left of a large body came in one piece: the next may come
        call.whole()
        if call.is_answered:
            self._next()

    # what a call does
    def peer(self) -> str | None:
        """The address at the other end; None where there is none."""
        found = self._transport.get_extra_info("peername")
        return str(found[0]) if isinstance(found, tuple) else None

    def want_body(self, *, is_expected: bool) -> None:
        """The body is read from now on; a client that waits to be asked for it is asked."""
        if is_expected:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read_on()

    def _read_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def begin(self, call: Call, head: bytes, status: int, length: int | None) -> bytes:
        """The head of the answer, to be written with the first of its body."""
        if call.is_old:
            self._is_last = True
        self._is_chunked = length is None and not call.is_old
        framing = b"transfer-encoding: chunked\r\n"
        if length is not None:
            framing = b"content-length: %d\r\n" % length if status != 304 else b""
        elif call.is_old:
            framing = b""
        ending = b"connection: close\r\n\r\n" if self._is_last else b"\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b%b%b" % (
            status,
            PHRASES.get(status, b"Answer"),
            date(int(time.time())),
            head,
            framing,
            ending,
        )

    def write(self, head: bytes, data: bytes, *, is_last: bool) -> None:
        """Sends a piece of the body, behind the head where that is still unsent."""
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data += b"0\r\n\r\n" if is_last else b""
        self._transport.write(head + data if head else data)

    def chunks(self) -> Callable[[bytes], None] | None:
        """What takes whole chunks of the answer that has begun; None where those are not sent."""
        return self._transport.write if self._is_chunked else None

    async def drained(self) -> None:
        """Returns when the client has taken enough."""
        if self.is_stalled:
            self._drained = self._loop.create_future()
            await self._drained

    async def lend(self) -> int | None:
        """The socket, when all that was written is out: for who writes on it past this class.

        `take_back` is called after it. None where there is none.
        """
        self._transport.set_write_buffer_limits(high=0)
        await self.drained()
        lent = self._transport.get_extra_info("socket")
        return None if lent is None else int(lent.fileno())

    def take_back(self) -> None:
        """Writes again as before."""
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits()

    def ended(self) -> None:
        """The answer of the running call is written; what it had of a body is not read further."""
        if self._reading is not None and self._reading is self._running:
            self._expect(self.linger_s, self.abort)
            self.want_body(is_expected=False)
        else:
            self._next()

    def abort(self) -> None:
        """Cuts the connection, whatever is still unsent on it."""
        self._transport.abort()

    # requests one after another
    def _start(self, call: Call) -> None:
        self._running = call
        call.start(self._answer)

    def _next(self) -> None:
        """The next request that was sent ahead, or a time of waiting for one."""
        self._running = None
        self.since = time.monotonic()
        if self._ahead and not self._is_last:
            self._start(self._ahead.popleft())
        elif self._is_last:
            self._unsent = self._transport.get_write_buffer_size()
            self._expect(self.stall_s, self._check_stall)
            self._transport.close()
        elif unsent := self._transport.get_write_buffer_size():
            self._unsent = unsent
            self._expect(self.stall_s, self._check_stall)
        elif not self._is_in_head:
            self._deadline = self.since + self.keep_alive_s
            self._late = self._transport.close

    def finish(self) -> None:
        """No request is taken from now on, but for the one that runs."""
        self._is_last = True
        if self._running is None:
            self._transport.close()

    @property
    def call(self) -> Call | None:
        """The call that runs."""
        return self._running

    # bounds
    def check(self, now: float) -> None:
        """Does what is due."""
        if now > self._deadline:
            self._deadline = math.inf
            self._late()

    def _expect(self, within_s: float, late: Callable[[], None]) -> None:
        self._deadline = time.monotonic() + within_s
        self._late = late

    def _expect_head(self, seen: int) -> None:
        self._is_in_head, self._head_bytes = True, seen
        self._expect(self.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_in_head:
            self._refuse(RequestTimeout())
        else:
            self._transport.close()  # a connection opened in advance and never used

    def _check_stall(self) -> None:
        """Cuts a client that took nothing since; while a request runs, its deadlines do that."""
        unsent = self._transport.get_write_buffer_size()
        if self._running is not None:
            return
        if unsent and unsent >= self._unsent:
            self.abort()
        elif unsent:
            self._unsent = unsent
            self._expect(self.stall_s, self._check_stall)
        else:
            self._expect(self.keep_alive_s, self._transport.close)

    def _refuse(self, error: HaneulError) -> None:
        """Answers what is no request, or, in the middle of an answer, only ends the connection.

        The client may still be sending: closing at once would take the answer from it.
        """
        if self._is_refused or self._transport.is_closing():
            return
        self._is_refused = self._is_last = True
        if self._running is not None:
            self._transport.close()
            return
        self._transport.write(whole(error, self._errors_of("")))
        self._transport.write_eof()
        self._expect(self.linger_s, self.abort)


def _nothing() -> None:
    """Nothing is due at a connection that is gone."""
