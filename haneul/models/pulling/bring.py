"""One offer into the store: every file fetched, hashed and proven, then all of them a revision.

A file that is here already, under whatever name and of whatever model, is not fetched again. No
file is a blob before its hash was computed over what lies on the disk; the revision is there when
all its files are, or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from functools import partial

from haneul.base import gguf, safetensors
from haneul.base.errors import BrokenFile
from haneul.models.folder.blobs import Blobs
from haneul.models.folder.lock import hold
from haneul.models.folder.pins import Pins
from haneul.models.folder.proof import check_weights
from haneul.models.manifest import File, Manifest, manifest
from haneul.models.pulling.assemble import Means, assemble, forget
from haneul.models.pulling.fetch import Fetcher, WrongBytes
from haneul.models.pulling.progress import Meter, Tally
from haneul.models.pulling.space import check_space
from haneul.models.pulling.supply import Supply
from haneul.models.pulling.threads import to_end, together
from haneul.models.pulling.transfer import CONNECTIONS, Arrived, key
from haneul.models.sources.offer import Offer, Offered

FILES_AT_ONCE = 4


class Bringing:
    """One offer on its way; `bring` gives the manifest."""

    def __init__(
        self,
        offer: Offer,
        *,
        blobs: Blobs,
        fetcher: Fetcher,
        supply: Supply,
        pins: Pins,
        meter: Meter,
    ) -> None:
        self._offer, self._blobs, self._pins, self._meter = offer, blobs, pins, meter
        self._means = Means(
            fetcher=fetcher,
            folder=blobs.partial,
            lanes=asyncio.Semaphore(CONNECTIONS),
            mirrors=partial(supply.mirrors, offer.source),
            on_stage=lambda stage: meter.stage(stage, offer.source),
        )
        sizes = [part.bytes for file in offer.files for part in file.parts]
        self._tally = Tally(meter, offer.source, sizes)
        self._files: dict[str, File] = {}
        self._served: Counter[str] = Counter()
        self._at_once = asyncio.Semaphore(FILES_AT_ONCE)

    @property
    def source(self) -> str:
        """Who gave most of it."""
        named = [(count, name) for name, count in self._served.items() if name]
        return max(named)[1] if named else self._offer.source

    async def bring(self) -> Manifest:
        """All files in the store. Raises FetchFailed, BrokenFile, CommandError."""
        offer = self._offer
        known = [file.sha256 for file in offer.files if file.sha256]
        await to_end(self._pins.add, known)
        await to_end(self._check_space)
        first, steps = 0, []
        for file in offer.files:
            steps.append(self._one(file, first))
            first += len(file.parts)
        await together(*steps)
        made = manifest(offer.format, self._files.values())
        if len(made.files) > 1:
            self._means.on_stage("checking")
            await to_end(check_weights, made, self._blobs.path)
            await to_end(self._blobs.lay_out, made)
        return made

    def _check_space(self) -> None:
        missing = [file for file in self._offer.files if not self._is_here(file)]
        needed = sum((file.bytes or 0) - self._begun_bytes(file) for file in missing)
        check_space(self._blobs.partial, max(0, needed))

    def _begun_bytes(self, offered: Offered) -> int:
        """What an earlier pull has written of it already."""
        begun = 0
        for part in offered.parts:
            if part.piece is not None:
                path = self._blobs.partial / f"{key(part.piece)}.partial"
                begun += path.stat().st_blocks * 512 if path.exists() else 0
        return min(begun, offered.bytes or 0)

    def _is_here(self, offered: Offered) -> bool:
        size = self._blobs.size(offered.sha256) if offered.sha256 else None
        return size is not None and offered.bytes in (None, size)

    async def _one(self, offered: Offered, first: int) -> None:
        """One file, unless it is here or comes while somebody else fetches it."""
        lock = self._blobs.locks / f"{_lock_name(offered)}.lock"
        numbers = range(first, first + len(offered.parts))
        async with self._at_once, hold(lock, on_wait=lambda: self._means.on_stage("waiting")):
            if await to_end(self._is_here, offered):
                size = self._blobs.size(offered.sha256) or 0
                file = File(offered.path, offered.sha256, size)
            else:
                counts = [self._tally.of(number) for number in numbers]
                arrived = await assemble(offered, self._means, counts)
                self._served[arrived.source] += arrived.bytes
                if len(self._offer.files) == 1:
                    self._means.on_stage("checking")
                file = await to_end(self._accept, offered, arrived)
            for number in numbers:
                self._tally.finish(number)
            self._files[offered.path] = file

    def _accept(self, offered: Offered, arrived: Arrived) -> File:
        """Lets a file into the store if it is what was promised and says nothing impossible."""
        source, promised = self._offer.source, offered.bytes
        try:
            if promised is not None and arrived.bytes != promised:
                raise WrongBytes(f"{source} gave {arrived.bytes} bytes, not {promised}.")
            if offered.sha256 and arrived.sha256 != offered.sha256:
                raise WrongBytes(f"{source} gave bytes of another SHA-256 than was promised.")
            self._check(offered, arrived)
        except (WrongBytes, BrokenFile):
            forget(offered, self._blobs.partial)
            raise
        self._pins.add([arrived.sha256])
        self._blobs.take(arrived.path, arrived.sha256)
        forget(offered, self._blobs.partial)
        return File(offered.path, arrived.sha256, arrived.bytes)

    def _check(self, offered: Offered, arrived: Arrived) -> None:
        if self._offer.format == "gguf" and len(self._offer.files) == 1:
            gguf.check_file(arrived.path)
        elif offered.path.lower().endswith(".gguf"):
            gguf.read_header(arrived.path)
        elif offered.path.lower().endswith(".safetensors"):
            safetensors.read_header(arrived.path)


def _lock_name(offered: Offered) -> str:
    if offered.sha256:
        return offered.sha256
    places = [part.piece.url if part.piece else str(part.path) for part in offered.parts]
    return hashlib.sha256("\n".join([offered.path, *places]).encode()).hexdigest()
