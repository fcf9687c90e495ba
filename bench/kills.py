"""Pulls that are killed at random bytes, and what lies in the store after each.

A split model is pulled from a server with bad manners into one home by one or two processes; after
some random number of bytes, and a random moment more, they are killed. Then every blob must have
the hash it is called by, and every revision must be whole. A home that a pull has finished is held
against the source and begun anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import random
import shutil
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

from haneul.base.errors import CommandError
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File, manifest
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.pull import pull
from haneul.models.reference import parse
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes
from haneul.testing.rough import Manners, RoughServer

MODEL = "hf:org/repo:Q8_0"
PARTS = 3
ROUND_S = 60.0
AFTER_S = 0.15  # up to so long after the bytes: hashes, renames and links are met too
MANNERS = Manners(
    rate_bytes_s=2e7,
    cut_bytes=(50_000, 8_000_000),
    lies=("another range", "shorter"),
    lie_share=0.1,
)


class Kills(NamedTuple):
    """What came of it."""

    kills: int
    finished: int  # pulls that ended by themselves
    corrupt: int  # blobs or revisions that were not what they are called
    sent_bytes: int
    finished_bytes: int


def make_model(folder: Path, size_bytes: int, dice: random.Random) -> list[File]:
    """A split GGUF of about that size, and its files."""
    rows = max(1, size_bytes // PARTS // 4096)
    files = []
    for number in range(PARTS):
        told: dict[str, Any] = {
            "split.no": number,
            "split.count": PARTS,
            "split.tensors.count": PARTS + 2,
        }
        weights = [Weights(f"blk.0.part_{number}.weight", (1024, rows))]
        if not number:
            weights += TINY_WEIGHTS[:2]
            told = {**TINY, **told}
        data = gguf_bytes(told, weights, fill=dice.randbytes(1 << 20))
        path = folder / f"tiny-Q8_0-{number + 1:05d}-of-{PARTS:05d}.gguf"
        path.write_bytes(data)
        files.append(File(path.name, hashlib.sha256(data).hexdigest(), len(data)))
    return files


def run(count: int, scratch: Path, *, size_bytes: int, seed: int) -> Kills:
    """Kills that many pulls. Raises AssertionError when a finished pull has other bytes."""
    dice = random.Random(seed)
    folder, home = scratch / "served", scratch / "home"
    folder.mkdir()
    made = manifest("gguf", make_model(folder, size_bytes, dice))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.kills"])
    kills = finished = corrupt = 0
    with RoughServer(folder, MANNERS) as server:
        while kills < count:
            pulls = [
                context.Process(target=_pull, args=(server.url, str(home)))
                for _ in range(dice.choice((1, 1, 2)))
            ]
            for process in pulls:
                process.start()
            _wait(server, pulls, dice.randrange(made.bytes), dice.uniform(0, AFTER_S))
            was_alive = [process.is_alive() for process in pulls]
            for process in pulls:
                process.kill()
                process.join()
            kills += sum(was_alive)
            corrupt += count_corrupt(Blobs(home))
            if any(process.exitcode == 0 for process in pulls):
                finished += 1
                corrupt += not _is_whole(Blobs(home), made.revision, folder)
                shutil.rmtree(home)
        sent_bytes = server.sent_bytes
    return Kills(kills, finished, corrupt, sent_bytes, finished * made.bytes)


def count_corrupt(blobs: Blobs) -> int:
    """Blobs whose bytes have another hash, and revisions that are not whole."""
    if not blobs.folder.exists():
        return 0
    wrong = 0
    for path in blobs.blobs.glob("sha256-*"):
        wrong += not blobs.verify(path.name.removeprefix("sha256-"))
    folders = [path for path in blobs.revisions.glob("*") if not path.name.startswith(".")]
    wrong += sum(len(list(folder.iterdir())) != PARTS for folder in folders)
    kept = blobs.recall(MODEL)
    return wrong + (kept is not None and len(kept.files) != PARTS)


def _is_whole(blobs: Blobs, revision: str, source: Path) -> bool:
    laid_out = blobs.revisions / revision
    return all(
        laid_out.joinpath(path.name).read_bytes() == path.read_bytes() for path in source.iterdir()
    )


def _wait(server: RoughServer, pulls: list[ForkServerProcess], count: int, after_s: float) -> None:
    """Until that many more bytes were sent, and a moment more, or the pulls have ended."""
    until_s, target = time.monotonic() + ROUND_S, server.sent_bytes + count
    while server.sent_bytes < target and time.monotonic() < until_s:
        if not any(process.is_alive() for process in pulls):
            return
        time.sleep(0.001)
    time.sleep(after_s)


def _pull(url: str, home: str) -> None:
    try:
        asyncio.run(_pull_model(url, Path(home)))
    except CommandError:  # the server lied once too often
        sys.exit(1)


async def _pull_model(url: str, home: Path) -> None:
    environ = {"HF_ENDPOINT": url, "HF_HOME": str(home / "none"), "HOME": str(home / "none")}
    async with Fetcher(trusted_hosts=[url]) as fetcher:
        await pull(parse(MODEL), blobs=Blobs(home), fetcher=fetcher, environ=environ)
