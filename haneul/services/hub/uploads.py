"""Files on their way here: written as they come, hashed while they are, kept once they are true."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from pathlib import Path

from haneul.base.errors import BadRequest, CommandError, RequestTimeout, Unavailable
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File
from haneul.models.pulling.space import check_space
from haneul.models.pulling.threads import to_end
from haneul.services.call import Call
from haneul.services.hub.tickets import Ticket

PREFIX = "push-"  # of what is not whole yet, among the partial files
OLD_S = 86_400.0  # a file that nothing was written to for so long is a killed process's
GRACE_S = 60.0  # for a file to come at all
SLOWEST_BYTES_S = 16 << 10


class Uploads:
    """Takes files into the store of blobs."""

    def __init__(self, blobs: Blobs, *, idle_s: float) -> None:
        self._blobs = blobs
        self._idle_s = idle_s

    async def take(self, call: Call, ticket: Ticket) -> None:
        """The body of a request, as the blob that the ticket is for.

        Raises BadRequest for other bytes, Unavailable without room, RequestTimeout, TooLarge.
        """
        if await asyncio.to_thread(self._blobs.size, ticket.sha256) == ticket.size:
            await _read_off(call, ticket.size, self._idle_s)
            return
        coming = await asyncio.to_thread(Coming, self._blobs, ticket.size)
        began = time.monotonic()
        try:
            async for piece in call.pieces(max_bytes=ticket.size, within_s=self._idle_s):
                await to_end(coming.write, piece)
                call.within(self._idle_s, RequestTimeout())
                age_s = time.monotonic() - began
                if age_s > GRACE_S and coming.size < (age_s - GRACE_S) * SLOWEST_BYTES_S:
                    raise RequestTimeout("The file comes too slowly.")
            await to_end(coming.keep, ticket)
        finally:
            await to_end(coming.close)

    def keep(self, content: bytes) -> File:
        """A small file's content as a blob. Touches the disk."""
        sha256 = hashlib.sha256(content).hexdigest()
        coming = Coming(self._blobs, len(content))
        try:
            coming.write(content)
            coming.keep(Ticket("", sha256, len(content), 0))
        finally:
            coming.close()
        return File(path="", sha256=sha256, bytes=len(content))

    def clear(self) -> None:
        """Removes what killed processes left. Touches the disk."""
        before = time.time() - OLD_S
        for path in self._blobs.partial.glob(f"{PREFIX}*"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


class Coming:
    """One file that is not whole yet. Every method touches the disk."""

    def __init__(self, blobs: Blobs, expected_bytes: int) -> None:
        self._blobs = blobs
        blobs.open()
        try:
            check_space(blobs.partial, expected_bytes)
        except CommandError as cause:
            raise Unavailable(cause.message) from cause
        self._path: Path = blobs.partial / f"{PREFIX}{secrets.token_hex(12)}"
        self._file = self._path.open("xb", buffering=0)
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._digest.update(piece)
        self.size += len(piece)

    def keep(self, ticket: Ticket) -> None:
        """Makes it a blob. Raises BadRequest where it is not what was announced."""
        if self.size != ticket.size:
            raise BadRequest(f"{self.size} bytes came, {ticket.size} were announced.")
        if self._digest.hexdigest() != ticket.sha256:
            raise BadRequest("What came has another SHA-256 than was announced.")
        os.fsync(self._file.fileno())
        self._blobs.take(self._path, ticket.sha256)

    def close(self) -> None:
        """Forgets it, unless it was kept."""
        self._file.close()
        self._path.unlink(missing_ok=True)


async def _read_off(call: Call, size: int, idle_s: float) -> None:
    """Takes the body of a file that is here meanwhile."""
    async for _ in call.pieces(max_bytes=size, within_s=idle_s):
        call.within(idle_s, RequestTimeout())
