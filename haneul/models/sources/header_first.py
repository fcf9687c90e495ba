"""What a model is, read from the first bytes of its files: of gigabytes a few megabytes, or none.

A GGUF file's header says everything a plan needs; it comes by range requests, a little more each
time, until it is whole. Safetensors are described by their configuration, which came with the
offer already.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.base import gguf, gguf_parts
from haneul.base.errors import BrokenFile, FetchFailed
from haneul.base.first_bytes import More
from haneul.base.gguf_header import Header
from haneul.chips.shape import Shape
from haneul.models import templates
from haneul.models.pulling.fetch import Fetcher
from haneul.models.shapes.config_shape import shape_of_config
from haneul.models.shapes.gguf_shape import shape_of
from haneul.models.sources.offer import Offer, Offered, Part

FIRST_BYTES = 1 << 20  # asked for at once; a header with a vocabulary has 2-20 MB
PART_BYTES = 1 << 16  # of the later parts of a split file, which have no vocabulary
ROUNDS_MAX = 12
AT_ONCE = 8  # parts
TEMPLATE_MAX_BYTES = 4 << 20


class Described(Struct, frozen=True, kw_only=True):
    """What the first bytes say. The shape is None where nothing says it, with the reason."""

    shape: Shape | None
    template: str = ""  # for chats; "": none, or unknown
    read_bytes: int = 0  # of weights' files, for this
    file_bytes: int | None = None  # of all weights, as their headers have it
    reason: str = ""


async def describe(offer: Offer, fetcher: Fetcher) -> Described:
    """The shape and the template of what is offered. Raises FetchFailed, BrokenFile."""
    if offer.format != "gguf":
        return await _from_files(offer, fetcher)
    parts = [file.parts[0] for file in offer.files]
    if any(len(file.parts) > 1 or file.parts[0].member for file in offer.files):
        return Described(shape=None, reason="a packed file shows its header only once it is here")
    lanes = asyncio.Semaphore(AT_ONCE)
    first = FIRST_BYTES
    asks = []
    for file, part in zip(offer.files, parts, strict=True):
        asks.append(_header(file, part, fetcher, lanes, first))
        first = PART_BYTES
    read = await asyncio.gather(*asks)
    headers = [header for header, _ in read]
    header = headers[0] if len(headers) == 1 else gguf_parts.joined(headers)
    return Described(
        shape=shape_of(header),
        template=templates.of_header(header),
        read_bytes=sum(count for _, count in read),
        file_bytes=sum(header.file_bytes for header in headers),
    )


async def _header(
    file: Offered, part: Part, fetcher: Fetcher, lanes: asyncio.Semaphore, first: int
) -> tuple[Header, int]:
    """The header of one file, and how many bytes were read for it."""
    data, wanted = b"", first
    for _ in range(ROUNDS_MAX):
        async with lanes:
            data += await _bytes(part, fetcher, len(data), wanted)
        found = gguf.read_first(data, file_bytes=file.bytes)
        if not isinstance(found, More):
            return found, len(data)
        if found.bytes <= len(data) or len(data) < wanted:
            raise BrokenFile(f"{file.path} ended at byte {len(data)} while its header was read.")
        wanted = found.bytes
    raise BrokenFile(f"{file.path} has a header without end.")


async def _bytes(part: Part, fetcher: Fetcher, start: int, stop: int) -> bytes:
    """The file's bytes from start up to stop, or to its end."""
    if part.content is not None:
        return part.content[start:stop]
    if part.path is not None:
        return await asyncio.to_thread(_read, part.path, start, stop)
    assert part.piece is not None
    piece = part.piece
    headers = {"Range": f"bytes={start}-{stop - 1}"}
    async with fetcher.open(piece.url, headers=headers, credentials=piece.credentials) as answer:
        skipped = start if answer.status != 206 else 0  # it sends all of it: read no further
        found = bytearray()
        async for data in answer.content.iter_any():
            found += data
            if len(found) >= skipped + stop - start:
                break
        return bytes(found[skipped : skipped + stop - start])


def _read(path: Path, start: int, stop: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)
    except OSError as cause:
        raise FetchFailed(f"{path.name} cannot be read: {cause.strerror}.") from cause


async def _from_files(offer: Offer, fetcher: Fetcher) -> Described:
    """Of a repository of safetensors: its configuration and its template's file."""
    files = {file.path: file for file in offer.files}
    weights = [file for file in offer.files if file.path.endswith(".safetensors")]
    sizes = [file.bytes for file in weights if file.bytes is not None]
    weight_bytes = sum(sizes) if len(sizes) == len(weights) else None
    texts: dict[str, bytes] = {}
    for name in ("config.json", templates.CONFIGURATION, templates.FILE):
        file = files.get(name)
        if file is not None and (file.bytes or 0) <= TEMPLATE_MAX_BYTES:
            texts[name] = await _bytes(file.parts[0], fetcher, 0, TEMPLATE_MAX_BYTES)
    template = templates.of_files(texts.get)
    if "config.json" not in texts:
        return Described(shape=None, template=template, reason="there is no config.json")
    try:
        config = msgspec.json.decode(texts["config.json"])
        shape = shape_of_config(config, weight_bytes=weight_bytes)
    except (msgspec.DecodeError, BrokenFile) as cause:
        return Described(shape=None, template=template, reason=f"config.json: {cause}")
    return Described(shape=shape, template=template)
