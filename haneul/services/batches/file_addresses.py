"""/v1/files: put, listed, shown, read and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import structs

from haneul.base.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnknownField,
    UnsupportedValue,
)
from haneul.base.multipart import Form, Head, Part
from haneul.base.units import MILLION
from haneul.services.batches.files import BATCH, PIECE_BYTES, Coming, Files, show_file
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keyring import require
from haneul.services.keys import Key
from haneul.services.pages import read_page
from haneul.store.files import FileRow

HERE = "/v1/files"
BELOW = "/v1/files/"
LISTED_MAX = 10_000
FORM_BYTES = 64 << 10  # of a form, beyond its file
UPLOAD_S = 300.0
HELD_BYTES = 1 << 20  # of an upload, in memory at a time
NAME_MAX = 256
SECONDS_MIN, SECONDS_MAX = 3600, 2_592_000  # of life that a client can choose
FILE = "file"
FIELDS = frozenset({FILE, "purpose", "expires_after[anchor]", "expires_after[seconds]"})
BYTES = b"application/octet-stream"


class FileAddresses:
    """What clients do with their files."""

    def __init__(self, gateway: Gateway, files: Files, *, file_max_bytes: int) -> None:
        self._gateway = gateway
        self._files = files
        self._file_max_bytes = file_max_bytes

    def routes(self) -> dict[str, dict[str, Callable[[Call], Awaitable[None]]]]:
        """Address to method to handler."""
        return {
            HERE: {"POST": self.put, "GET": self.listed},
            BELOW: {"GET": self.get, "DELETE": self.delete},
        }

    async def _who(self, call: Call) -> Key:
        key = await self._gateway.who(call)
        require(key, "infer")
        return key

    async def put(self, call: Call) -> None:
        """Takes a file: a form with `file` and `purpose`."""
        key = await self._who(call)
        reader = Form(call.headers.get(b"content-type", b"").decode("latin-1"))
        most_bytes = self._file_max_bytes + FORM_BYTES
        place = self._gateway.arrivals.place
        with place(call, key, max_bytes=most_bytes, held_bytes=HELD_BYTES):
            coming = await self._files.coming(key.id)
            try:
                pieces = call.pieces(max_bytes=most_bytes, within_s=UPLOAD_S)
                parts = await _received(pieces, reader, coming)
                call.within(UPLOAD_S)
                row = await self._keep(key, _form(parts), coming)
            finally:
                await asyncio.to_thread(coming.close)
        await _answer(call, show_file(row))

    async def _keep(self, key: Key, form: dict[str, Part], coming: Coming) -> FileRow:
        if coming.bytes > self._file_max_bytes:
            raise TooLarge(f"The file is larger than {self._file_max_bytes} bytes.")
        filename = PurePosixPath(form["file"].filename or "file").name[:NAME_MAX] or "file"
        file_id = coming.path.name
        row = self._files.row(key.id, BATCH, filename, coming.bytes, file_id=file_id)
        if (life_s := _life_s(form)) is not None:
            row = structs.replace(row, expires_us=row.created_us + life_s * MILLION)
        await self._files.keep(row, coming)
        return row

    async def listed(self, call: Call) -> None:
        """The key's files, in pages."""
        key = await self._who(call)
        said = parse_qs(call.query)
        for name in said.keys() - {"after", "limit", "order", "purpose"}:
            raise BadRequest(f"'{name[:64]}' is not honoured here.", param=name[:64])
        page = read_page(call.query, usual=LISTED_MAX, most=LISTED_MAX)
        rows = await self._files.listed(key, said.get("purpose", [None])[-1], page)
        shown = [show_file(row) for row in rows[: page.limit]]
        await _answer(call, page.listed(shown, has_more=len(rows) > page.limit))

    async def get(self, call: Call) -> None:
        """What a file is, or what it holds."""
        key = await self._who(call)
        file_id, _, rest = call.path.removeprefix(BELOW).partition("/")
        if rest not in ("", "content"):
            raise NotFound()
        row = await self._files.get(key, file_id)
        if rest:
            await self._send(call, row)
        else:
            await _answer(call, show_file(row))

    async def _send(self, call: Call, row: FileRow) -> None:
        """The bytes, a piece at a time: each has so long to be taken."""
        idle_s = self._gateway.config.idle_s
        with await asyncio.to_thread(self._files.path(row.id).open, "rb") as file:
            call.begin(200, BYTES, row.bytes)
            left = row.bytes
            if not left:
                call.write(b"", is_last=True)
            while left:
                piece = await asyncio.to_thread(file.read, min(left, PIECE_BYTES))
                left -= len(piece)
                call.within(idle_s)
                await call.send(piece, more=left > 0)

    async def delete(self, call: Call) -> None:
        """Deletes a file, but not under a batch that reads it."""
        key = await self._who(call)
        file_id = call.path.removeprefix(BELOW)
        if "/" in file_id:
            raise MethodNotAllowed(f"{call.path} does not take DELETE.")
        row = await self._files.get(key, file_id)
        await self._files.remove_unused(row.id)
        await _answer(call, {"id": row.id, "object": "file", "deleted": True})


async def _received(pieces: AsyncIterator[bytes], reader: Form, coming: Coming) -> list[Part]:
    """Writes the file as it comes; gives the other fields, and of the file its name.

    Raises BadRequest, TooLarge.
    """
    heads, texts = list[Head](), list[bytearray]()
    is_file = False
    async for data in pieces:
        content = bytearray()
        for told in reader.feed(data):
            if isinstance(told, Head):
                is_file = told.name == FILE and all(head.name != FILE for head in heads)
                heads.append(told)
                texts.append(bytearray())
            elif is_file:
                content += told
            else:
                texts[-1] += told
        if sum(map(len, texts)) > FORM_BYTES:
            raise TooLarge(f"The fields beside the file are larger than {FORM_BYTES} bytes.")
        if content:
            await asyncio.to_thread(coming.add, content)
    reader.end()
    return [
        Part(head.name, bytes(text), head.filename) for head, text in zip(heads, texts, strict=True)
    ]


def _form(parts: list[Part]) -> dict[str, Part]:
    """The fields by name. Raises BadRequest, UnknownField, UnsupportedValue."""
    form: dict[str, Part] = {}
    for part in parts:
        shown = part.name[:64]
        if part.name not in FIELDS:
            raise UnknownField(f"'{shown}' is not honoured here.", param=shown)
        if part.name in form:
            raise BadRequest(f"'{shown}' is said twice.", param=shown)
        form[part.name] = part
    for name in (FILE, "purpose"):
        if name not in form:
            raise BadRequest(f"The form lacks '{name}'.", param=name)
    if form["purpose"].data != BATCH.encode():
        raise UnsupportedValue("Files are taken for the purpose 'batch' alone.", param="purpose")
    return form


def _life_s(form: dict[str, Part]) -> int | None:
    """How long the client wants the file kept; None where it does not say."""
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor is None or anchor.data != b"created_at":
        raise UnsupportedValue("Files expire after 'created_at'.", param="expires_after[anchor]")
    text = seconds.data if seconds is not None else b""
    if not text.isdigit() or not SECONDS_MIN <= int(text[:9]) <= SECONDS_MAX:
        raise BadRequest(
            f"A file lives {SECONDS_MIN} to {SECONDS_MAX} seconds.", param="expires_after[seconds]"
        )
    return int(text)


async def _answer(call: Call, value: dict[str, Any]) -> None:
    await call.answer(200, msgspec.json.encode(value), JSON)
