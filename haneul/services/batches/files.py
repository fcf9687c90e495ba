"""The files of clients: bytes in home/files under their ids, facts in the store.

The bytes are safe on the disk before the row is there, and the row is gone before the bytes: what
a killed process leaves is a file without a row, which the next start removes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from haneul.base.errors import Conflict, NotFound, TooLarge
from haneul.base.ids import new_id
from haneul.base.log import logger
from haneul.base.units import HOUR_US, now_us, show_bytes
from haneul.services.batches.states import OPEN
from haneul.services.keys import Key
from haneul.services.pages import Page
from haneul.store import batches as batch_queries
from haneul.store import files as queries
from haneul.store.database import Database
from haneul.store.files import FileRow

DAY_US = 24 * HOUR_US
PIECE_BYTES = 256 << 10
KNOWN_AT_ONCE = 200
BATCH, BATCH_OUTPUT = "batch", "batch_output"
log = logger("files")


class Files:
    """Every client's files."""

    def __init__(self, database: Database, folder: Path, *, room_bytes: int, days: int) -> None:
        self._database = database
        self._folder = folder
        self._room_bytes = room_bytes
        self._days = days

    async def open(self) -> None:
        """Makes the folder, and removes what a killed process left in it."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        names = await asyncio.to_thread(os.listdir, self._folder)
        for at in range(0, len(names), KNOWN_AT_ONCE):
            some = names[at : at + KNOWN_AT_ONCE]
            known = await self._database.ask(queries.known, some)
            for name in set(some) - known:
                await asyncio.to_thread((self._folder / name).unlink)

    def path(self, file_id: str) -> Path:
        """Where the bytes of a file lie; the id is one of ours."""
        return self._folder / file_id

    def row(
        self, key_id: str, purpose: str, filename: str, size: int, *, file_id: str | None = None
    ) -> FileRow:
        """The facts of a new file, which lives so many days."""
        at_us = now_us()
        return FileRow(
            id=file_id or new_id("file"),
            key_id=key_id,
            purpose=purpose,
            filename=filename,
            bytes=size,
            created_us=at_us,
            expires_us=at_us + self._days * DAY_US,
        )

    async def coming(self, key_id: str) -> Coming:
        """A new file of a key, to be written as it comes."""
        held = await self._database.ask(queries.held_bytes, key_id)
        return await asyncio.to_thread(Coming, self.path(new_id("file")), self._room_bytes - held)

    async def keep(self, row: FileRow, coming: Coming) -> None:
        """Keeps a file that has come. Raises TooLarge where its key has no room for it."""
        held = await self._database.ask(queries.held_bytes, row.key_id)
        if held + row.bytes > self._room_bytes:  # others may have come meanwhile
            raise TooLarge(
                f"The files of this API key take {show_bytes(held)} of "
                f"{show_bytes(self._room_bytes)}; delete some first."
            )
        await asyncio.to_thread(coming.keep)
        await self._database.call(queries.put, row)

    async def get(self, key: Key, file_id: str) -> FileRow:
        """One file of the key. Raises NotFound."""
        row = await self._database.ask(queries.get, key.id, file_id)
        if row is None or (row.expires_us is not None and row.expires_us < now_us()):
            shown = file_id if len(file_id) <= 64 else file_id[:64] + "…"
            raise NotFound(f"There is no file {shown!r} here.", param="file_id")
        return row

    async def listed(self, key: Key, purpose: str | None, page: Page) -> list[FileRow]:
        """The files of a page, and one more where there are more."""
        return await self._database.ask(
            lambda connection: queries.listed(
                connection,
                key.id,
                purpose=purpose,
                after=page.after,
                limit=page.limit + 1,
                is_newest_first=page.is_newest_first,
            )
        )

    async def remove_unused(self, file_id: str) -> None:
        """Deletes a file that no running batch reads. Raises Conflict."""
        if await self._database.ask(batch_queries.uses, file_id, OPEN):
            raise Conflict("A batch that has not ended reads this file.", param="file_id")
        await self.remove(file_id)

    async def remove(self, file_id: str) -> None:
        """Deletes a file."""
        await self._database.call(queries.remove, file_id)
        await asyncio.to_thread(self.path(file_id).unlink, missing_ok=True)

    async def forget(self) -> None:
        """Deletes the files whose time is over."""
        for file_id in await self._database.ask(queries.expired, now_us()):
            if not await self._database.ask(batch_queries.uses, file_id, OPEN):
                await self.remove(file_id)
                log.info("file_expired", file=file_id)


class Coming:
    """A file on its way: written beside its place, there once it is kept, gone if it is not."""

    def __init__(self, path: Path, room_bytes: int) -> None:
        self.path = path
        self.bytes = 0
        self._room_bytes = room_bytes
        self._fresh = path.with_name(f".{path.name}")
        self._file = self._fresh.open("wb")
        os.chmod(self._fresh, 0o600)

    def add(self, data: bytes | bytearray) -> None:
        """Writes a piece, as long as its key has room; `keep` says where there is none."""
        self.bytes += len(data)
        if self.bytes <= self._room_bytes:
            self._file.write(data)

    def keep(self) -> None:
        """Puts it in its place, on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._fresh.rename(self.path)
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Lets go of it; what was not kept is removed."""
        self._file.close()
        self._fresh.unlink(missing_ok=True)


def write(path: Path, pieces: Sequence[bytes] | Iterator[bytes]) -> int:
    """Writes a file whole or not at all, and returns its bytes once they are on the disk."""
    fresh = path.with_name(f".{path.name}")
    size = 0
    with fresh.open("wb") as file:
        os.chmod(fresh, 0o600)
        for piece in pieces:
            size += file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)
    return size


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def show_file(row: FileRow) -> dict[str, Any]:
    """A file as the API shows it."""
    expires_us = row.expires_us
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": row.created_us // 1_000_000,
        "expires_at": None if expires_us is None else expires_us // 1_000_000,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
    }
