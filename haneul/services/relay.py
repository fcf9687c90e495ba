"""A streamed answer on its way from the engine to the client, piece by piece.

What comes is counted, kept in the request's page, and sent on, in the call that brought it: no task
is woken. Most pieces are one more token and nothing else. For these only their number goes into the
page; its clocks follow with the next sweep of deadlines, a quarter of a second later at most.
"""

from __future__ import annotations

from collections.abc import Callable

from haneul.base.errors import EngineUnavailable
from haneul.services.bill import Bill
from haneul.services.call import Call
from haneul.services.dialect import Told
from haneul.services.remote import Reply
from haneul.services.targets import Target
from haneul.services.watch import Wait


class Relay:
    """One answer; `run` returns when the engine has said all of it."""

    def __init__(
        self, call: Call, bill: Bill, stream: Told, *, target: Target, wait: Wait, idle_s: float
    ) -> None:
        self._call = call
        self._bill = bill
        self._stream = stream
        self._target = target
        self._wait = wait
        self._idle_s = idle_s
        self._counters = bill.counters
        self._keep = bill.keeper()
        self._write: Callable[[bytes], None] | None = None  # for whole chunks

    async def run(self, reply: Reply) -> None:
        """Raises what the stream failed with; EngineUnavailable where it was cut."""
        call = self._call
        call.at_sweep = self._bill.delivering
        try:
            await reply.pump(self._take, call.line, self._pass)
        finally:
            call.at_sweep = None
        if not self._stream.is_done:
            raise EngineUnavailable(
                "The engine ended in the middle of its answer.", retry_after_s=2
            )

    def _pass(self, chunk: bytes) -> bool:
        """Whether a chunk was one more token and nothing else: then it went on as it came."""
        if self._write is None or not self._stream.passes(chunk):
            return False
        self._keep(self._counters.completion_tokens)
        self._call.has_moved = True
        self._write(chunk)
        return True

    def _take(self, data: bytes) -> None:
        """What came goes on at once; what is about to be sent is billed from now on."""
        if self._wait.is_left:
            return  # another engine is asked by now, this one's first words are nobody's
        stream = self._stream
        events = stream.feed(data)
        if stream.is_plain:  # only an answer that has begun has such pieces
            self._keep(self._counters.completion_tokens)
            self._call.has_moved = True
            self._call.write(events)
        else:
            self._deliver(events)

    def _deliver(self, events: bytes) -> None:
        call, stream, bill = self._call, self._stream, self._bill
        bill.upstream_id = stream.upstream_id
        bill.metering = "engine" if stream.has_usage else "counted"
        bill.delivering()
        if not events:
            self._wait.lives()
        else:
            call.within(self._idle_s)
            if not call.has_begun:
                self._wait.heard()
                self._target.health.heard()
                call.begin(200, stream.content_type)
                self._write = call.line.chunks()
            call.write(events)
        if stream.failure is not None:
            raise stream.failure
