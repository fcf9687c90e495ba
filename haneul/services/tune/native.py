"""The libllama that was built on this machine, for its own instruction set.

No wheel of it knows the newest instructions. A source archive that is fetched like any package and
held against a known hash does, where a compiler is present: minutes to a quarter of an hour, once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.base import places
from haneul.base.errors import CommandError
from haneul.models.folder import lock
from haneul.services.replica import environment
from haneul.services.tune.setup import LIBRARY_FILE

PACKAGE = "llama-cpp-python"  # its source archive holds that of llama.cpp
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
DONE_FILE = "layout.json"  # written last: a folder without it is half-done


def folder_of(home: Path, chip: str) -> Path:
    """Where the build for a chip lies or would lie."""
    return places.native(home) / f"{VERSION}-{chip}"


def native_folder(home: Path, chip: str) -> Path | None:
    """The folder of a finished build for this chip; None where there is none."""
    folder = folder_of(home, chip)
    is_done = (folder / DONE_FILE).is_file() and (folder / LIBRARY_FILE).is_file()
    return folder if chip and is_done else None


class Progress(Struct, frozen=True):
    """One report of a build; done of all steps, zero where there is nothing to count."""

    stage: str  # fetching, unpacking, configuring, compiling, trying, ready
    done: int = 0
    all: int = 0


OnProgress = Callable[[Progress], None]


async def ensure_build(home: Path, chip: str, *, jobs: int, on_progress: OnProgress) -> Path:
    """The folder of the finished build; fetches the source and builds unless it is here.

    What was fetched and compiled when a build was called off is kept, and the next goes on there.
    Raises FetchFailed, and CommandError with what is missing or what the compiler said.
    """
    folder = folder_of(home, chip)
    if (found := await asyncio.to_thread(native_folder, home, chip)) is not None:
        return found
    await asyncio.to_thread(lambda: folder.parent.mkdir(parents=True, exist_ok=True))
    async with lock.hold(folder.parent / "build.lock", on_wait=lambda: None):
        await _run("--check", on_progress=on_progress)
        source = folder.parent / f"source-{VERSION}.tar.gz"
        await _fetch(source, on_progress)
        await _run(str(source), str(folder), "--jobs", str(jobs), on_progress=on_progress)
    await asyncio.to_thread(source.unlink)
    return folder


async def _fetch(source: Path, on_progress: OnProgress) -> None:
    # Loaded for a build: what speaks https takes 12 MB, which a gateway does not need.
    from haneul.models.sources import source_archive

    await source_archive.fetch(
        PACKAGE,
        VERSION,
        sha256=SHA256,
        to=source,
        on_bytes=lambda done, all: on_progress(Progress("fetching", done, all or 0)),
    )


async def _run(*arguments: str, on_progress: OnProgress) -> None:
    """Runs the builder, which leads a process group of its own, so that all of it ends with us."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "haneul.engine.native",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async for line in process.stdout:
            on_progress(msgspec.json.decode(line, type=Progress))
        said = await process.stderr.read()
        if await process.wait() != 0:
            raise CommandError(_reason(said))
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _reason(said: bytes) -> str:
    try:
        last = said.strip().rpartition(b"\n")[2]
        return msgspec.json.decode(last, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, KeyError):
        return "The build ended without a reason."
