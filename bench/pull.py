"""What a pull costs beside aria2: `python -m bench.pull [--mb 512] [--rounds 5] [--kills 200]`.

A server in a process of its own limits each connection, cuts them off, or lies; haneul and aria2
(`apt install aria2`) fetch the same file in turn with the same number of connections. haneul's time
ends when the file is hashed, proven against its SHA-256 and synced to the disk; aria2's when it
ends, once as people run it, once with `--checksum`. Then pulls are killed at random bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench import kills, machine
from bench.report import Spread, spread, table
from haneul.base.errors import FetchFailed
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.transfer import transfer
from haneul.testing.rough import Lie, Manners

ROOT = Path(__file__).parent.parent
CUTS = (1_000_000, 40_000_000)
LIES: tuple[Lie, ...] = ("another range", "another length", "no range said", "shorter")
SERVERS = {
    "10 MB/s a connection": Manners(rate_bytes_s=1e7),
    "the same, cut after 1 to 40 MB": Manners(rate_bytes_s=1e7, cut_bytes=CUTS),
    "the same, one answer in ten a lie": Manners(rate_bytes_s=1e7, lies=LIES, lie_share=0.1),
    "as fast as it goes": Manners(),
}


class Source(NamedTuple):
    """The file that is fetched."""

    url: str
    sha256: str
    bytes: int


class Ran(NamedTuple):
    """One download."""

    wall_s: float
    cpu_s: float
    is_right: bool


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pull", description=__doc__)
    parser.add_argument("--mb", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to write: on the disk to be measured")
    options = parser.parse_args()
    print(machine.line(machine.facts()))
    print(f"{_aria2_version()}, {options.connections} connections, {options.mb} MB")
    with tempfile.TemporaryDirectory(prefix="hn-pull-", dir=options.folder) as scratch:
        rows = [_row(name, manners, Path(scratch), options) for name, manners in SERVERS.items()]
        heads = ("server", ">haneul MB/s", ">aria2 MB/s", ">aria2 --checksum", ">haneul/aria2")
        print(table((*heads, ">CPU s/GB", ">aria2's"), rows))
        _memory(Path(scratch), options.connections)
        _hash_rate()
        if options.kills:
            began_s = time.monotonic()
            folder = Path(scratch) / "kills"
            folder.mkdir()
            found = kills.run(options.kills, folder, size_bytes=24 << 20, seed=options.kills)
            print(
                f"{found.kills} kills, {found.finished} pulls finished between them, "
                f"{found.corrupt} corrupt commits, {found.sent_bytes / 1e9:.2f} GB sent for "
                f"{found.finished_bytes / 1e9:.2f} GB finished, {time.monotonic() - began_s:.0f} s"
            )


def _row(
    name: str, manners: Manners, scratch: Path, options: argparse.Namespace
) -> tuple[str, ...]:
    sides: dict[str, list[Ran]] = {"haneul": [], "aria2": [], "checked": []}
    with _served(scratch, options.mb, manners) as source:
        for _ in range(options.rounds):
            to = scratch / "to"
            sides["haneul"].append(_haneul(source, to, options.connections)[0])
            sides["aria2"].append(_aria2(source, to, options.connections))
            sides["checked"].append(_aria2(source, to, options.connections, is_checked=True))
    ratios = [a.wall_s / h.wall_s for h, a in zip(sides["haneul"], sides["aria2"], strict=True)]
    megabytes = source.bytes / 1e6
    shown = [_shown(runs, megabytes) for runs in sides.values()]
    cpu = [spread([run.cpu_s / source.bytes * 1e9 for run in sides[side]]) for side in sides]
    return name, *shown, spread(ratios).show(2), cpu[0].show(2), cpu[1].show(2)


def _shown(runs: list[Ran], megabytes: float) -> str:
    wrong = sum(not run.is_right for run in runs)
    if wrong:
        return f"wrong or failed {wrong} of {len(runs)}"
    return spread([megabytes / run.wall_s for run in runs]).show(1)


def _haneul(source: Source, to: Path, connections: int) -> tuple[Ran, int]:
    """One transfer in a process of its own, and its peak memory in bytes."""
    with _emptied(to):
        order = json.dumps([*source, str(to), connections])
        command = [sys.executable, "-m", "bench.pull", "--one", order]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        said: dict[str, Any] = json.loads(done.stdout or '{"wall_s": 0, "cpu_s": 0, "sha256": ""}')
    ran = Ran(said["wall_s"], said["cpu_s"], said["sha256"] == source.sha256)
    return ran, said.get("peak_bytes", 0)


def one(order: str) -> None:
    """The transfer that such a process makes; prints what it took."""
    url, sha256, size, to, connections = json.loads(order)
    began_s, cpu_s = time.perf_counter(), time.process_time()

    async def fetch() -> str:
        async with Fetcher(trusted_hosts=[url]) as fetcher:
            piece = Piece(url=url, bytes=size, sha256=sha256)
            try:
                return (await transfer(fetcher, piece, Path(to), connections=connections)).sha256
            except FetchFailed as failure:
                return failure.message

    said = {"sha256": asyncio.run(fetch()), "wall_s": time.perf_counter() - began_s}
    said["cpu_s"] = time.process_time() - cpu_s
    said["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(said))


def _aria2(source: Source, to: Path, connections: int, *, is_checked: bool = False) -> Ran:
    many = f"{connections}"
    command = ["aria2c", "--quiet", "-x", many, "-s", many, "-k", "1M", "-m", "0"]
    command += ["--retry-wait=0", "--file-allocation=none", "-d", str(to), "-o", "data.bin"]
    if is_checked:
        command.append(f"--checksum=sha-256={source.sha256}")
    with _emptied(to):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began_s = time.perf_counter()
        subprocess.run([*command, source.url], check=False)
        wall_s = time.perf_counter() - began_s
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        path = to / "data.bin"
        is_right = path.exists() and _sha256(path) == source.sha256
    return Ran(wall_s, cpu_s, is_right)


def _memory(scratch: Path, connections: int) -> None:
    """The peak of a small and of a large file."""
    for megabytes in (64, 2048):
        with _served(scratch, megabytes, Manners()) as source:
            ran, peak = _haneul(source, scratch / "to", connections)
        rate = source.bytes / 1e6 / ran.wall_s
        print(f"{megabytes} MB: peak {peak / 1e6:.0f} MB of memory, {rate:.0f} MB/s")


def _hash_rate() -> None:
    data, rates = bytes(1 << 20), []
    for _ in range(5):
        began_s, state = time.process_time(), hashlib.sha256()
        for _ in range(256):
            state.update(data)
        rates.append(256 * len(data) / 1e6 / (time.process_time() - began_s))
    found: Spread = spread(rates)
    print(f"SHA-256: {found.show()} MB/s of one core")


@contextmanager
def _served(scratch: Path, megabytes: int, manners: Manners) -> Iterator[Source]:
    """The server in its process, with a file of random bytes."""
    folder = scratch / "served"
    folder.mkdir()
    path = folder / "data.bin"
    with path.open("wb") as file, Path("/dev/urandom").open("rb") as noise:
        block = noise.read(1 << 20)
        for number in range(megabytes):
            file.write(number.to_bytes(8, "big") + block[8:])
    text = msgspec.json.encode(manners).decode()
    command = [sys.executable, "-m", "haneul.testing.rough", str(folder), text]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        yield Source(f"{url}/data.bin", _sha256(path), path.stat().st_size)
        server.stdin.close()
    shutil.rmtree(folder)


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    folder.mkdir()
    yield
    shutil.rmtree(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _aria2_version() -> str:
    said = subprocess.run(["aria2c", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split("\n")[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2])
    else:
        main()
