"""A request whose body goes out as it comes, for bodies too large to be held.

    reply = await upload(unix(path), "POST", "/v1/files", pieces, headers=…)

Over a connection of its own, and once: what was sent is gone. An answer that comes before the end
of the body ends the sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from haneul.base.errors import EngineUnavailable
from haneul.base.http import CONNECT_S, Address, Reply
from haneul.base.http_connection import Connection, Disconnected


class Upload(Connection):
    """One connection that sends no faster than is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        super().connection_lost(exc)

    async def send(self, pieces: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        """Sends every piece; what the pieces raise ends the connection and is raised to all."""
        try:
            async for data in pieces:
                await self._put(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)
            if is_chunked:
                await self._put(b"0\r\n\r\n")
        except Exception as error:  # noqa: BLE001 - raised to whoever waits for the answer
            self.error = error
            self.abort()

    async def _put(self, data: bytes) -> None:
        await self._may_write.wait()
        if self.closed or self.transport is None:
            raise Disconnected()
        self.transport.write(data)


async def upload(
    to: Address,
    method: str,
    path: str,
    pieces: AsyncIterator[bytes],
    *,
    length: int | None,
    headers: Mapping[str, str],
) -> Reply:
    """The head of the answer to a request at a Unix socket; `length`: of the body, where known.

    Raises EngineUnavailable, and whatever the pieces raise.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, connection = await loop.create_unix_connection(Upload, to.uds)
    except (OSError, TimeoutError) as cause:
        raise EngineUnavailable("The engine cannot be reached.", retry_after_s=2) from cause
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"{method} {path} HTTP/1.1", f"host: {to.host}", framing]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    sending = asyncio.create_task(connection.send(pieces, is_chunked=length is None), name="upload")
    try:
        while not connection.got_head and connection.error is None:
            await connection.changed()
    except BaseException:
        connection.abort()
        raise
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    if not connection.got_head:
        assert connection.error is not None
        raise connection.error
    return Reply(connection)
