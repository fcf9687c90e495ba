"""Collecting garbage: everything that is in use stays, whoever uses it; the rest goes."""

import asyncio
import hashlib
import mmap
import os
import subprocess
import sys
import time

import pytest

from haneul.base.errors import CommandError, NotFound
from haneul.models.folder.blobs import Blobs, Kept
from haneul.models.folder.gc import BROKEN_OFF_S, RECENT_S, Referenced, collect
from haneul.models.folder.lock import hold
from haneul.models.folder.pins import Pins, collecting
from haneul.models.manifest import File, manifest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def blobs(home):
    opened = Blobs(home / "models")
    opened.open()
    return opened


def put(blobs, data):
    digest = hashlib.sha256(data).hexdigest()
    fresh = blobs.partial / "fresh"
    fresh.write_bytes(data)
    blobs.take(fresh, digest)
    return File(f"{data.decode()}.gguf", digest, len(data))


def told(*digests, revisions=()):
    return lambda: Referenced(frozenset(digests), frozenset(revisions))


def sweep(home, ask=None, *, is_dry=False, recent_s=0.0, **options):
    return collect(home, ask or told(), is_dry=is_dry, recent_s=recent_s, **options)


def going(collected):
    return {entry.name for entry in collected.found if not entry.spared}


def reasons(collected):
    return {entry.spared for entry in collected.found if entry.spared}


def test_file_that_nothing_names_goes_and_the_named_stays(home, blobs):
    kept, gone = put(blobs, b"kept"), put(blobs, b"gone")
    collected = sweep(home, told(kept.sha256))
    assert going(collected) == {gone.sha256}
    assert collected.freed_bytes == len(b"gone")
    assert blobs.size(gone.sha256) is None
    assert blobs.path(kept.sha256).read_bytes() == b"kept"


def test_dry_run_says_the_same_and_removes_nothing(home, blobs):
    gone = put(blobs, b"gone")
    made = manifest("gguf", [gone, put(blobs, b"more")])
    folder = blobs.lay_out(made)
    dry = sweep(home, is_dry=True)
    assert folder.joinpath("gone.gguf").read_bytes() == b"gone"
    wet = sweep(home)
    assert (dry.found, dry.freed_bytes) == (wet.found, wet.freed_bytes)
    assert wet.freed_bytes == len(b"gonemore")
    assert not folder.exists()
    assert blobs.size(gone.sha256) is None


def test_revision_that_is_known_keeps_its_folder_and_its_files(home, blobs):
    made = manifest("gguf", [put(blobs, b"one"), put(blobs, b"two")])
    folder = blobs.lay_out(made)
    assert going(sweep(home, told(revisions=[made.revision]))) == set()
    assert folder.joinpath("two.gguf").read_bytes() == b"two"
    assert all(blobs.size(file.sha256) == file.bytes for file in made.files)


def test_file_that_another_folder_still_has_frees_no_room(home, blobs, tmp_path):
    gone = put(blobs, b"gone")
    os.link(blobs.path(gone.sha256), tmp_path / "mine.gguf")
    assert sweep(home).freed_bytes == 0
    assert (tmp_path / "mine.gguf").read_bytes() == b"gone"


def test_what_came_or_was_asked_for_a_short_while_ago_stays(home, blobs):
    put(blobs, b"new")
    collected = sweep(home, recent_s=RECENT_S)
    assert going(collected) == set()
    assert reasons(collected) == {"it came within the last day"}


def test_name_asked_for_lately_keeps_old_bytes(home, blobs):
    file = put(blobs, b"old")
    time.sleep(0.6)
    blobs.remember(
        Kept(name="x", sha256=file.sha256, bytes=3, source="url", revision="", licence="")
    )
    assert reasons(sweep(home, recent_s=0.5)) == {"a pull relies on it, or did within a day"}
    time.sleep(0.6)
    assert going(sweep(home, recent_s=0.5)) == {file.sha256}
    assert blobs.recall("x") is None
    assert list(blobs.names.iterdir()) == []


async def test_what_a_running_pull_relies_on_stays_and_goes_when_it_has_ended(home, blobs):
    file = put(blobs, b"wanted")
    async with Pins(blobs.locks) as pins:
        await asyncio.to_thread(pins.add, [file.sha256])
        assert going(await asyncio.to_thread(sweep, home)) == set()
    assert going(await asyncio.to_thread(sweep, home)) == {file.sha256}


def test_pull_that_was_killed_holds_nothing_back(home, blobs):
    file = put(blobs, b"wanted")
    code = (
        "import asyncio, os, sys, pathlib\n"
        "from haneul.models.folder.pins import Pins\n"
        "async def main():\n"
        "    pins = await Pins(pathlib.Path(sys.argv[1])).__aenter__()\n"
        "    pins.add([sys.argv[2]])\n"
        "    print('pinned', flush=True)\n"
        "    sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(blobs.locks), file.sha256]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pulling:
        assert pulling.stdout.readline() == b"pinned\n"
        assert going(sweep(home)) == set()
        pulling.kill()
        pulling.wait()
        assert going(sweep(home)) == {file.sha256}


async def test_nothing_new_is_relied_on_while_garbage_is_collected(home, blobs):
    file = put(blobs, b"old")
    with collecting(blobs.locks):
        waiting = asyncio.create_task(Pins(blobs.locks).__aenter__())
        await asyncio.sleep(0.2)
        assert not waiting.done()
    pins = await waiting
    await asyncio.to_thread(pins.add, [file.sha256])
    assert going(await asyncio.to_thread(sweep, home)) == set()
    await pins.__aexit__(None, None, None)


@LINUX
@pytest.mark.parametrize("is_mapped", [True, False])
def test_file_that_a_process_has_open_or_mapped_stays(home, blobs, is_mapped):
    made = manifest("gguf", [put(blobs, b"engine"), put(blobs, b"part")])
    folder = blobs.lay_out(made)
    with folder.joinpath("engine.gguf").open("rb") as opened:
        handle = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if is_mapped else None
        if is_mapped:
            opened.close()
        collected = sweep(home)
        assert going(collected) == set()
        assert "a process has it open" in reasons(collected)
        assert folder.joinpath("part.gguf").exists()
        if handle is not None:
            handle.close()
    assert going(sweep(home)) >= {made.revision}


def test_requantised_file_goes_with_the_last_that_named_its_origin(home, blobs):
    file = put(blobs, b"origin")
    derived = home / "models" / "derived"
    derived.mkdir()
    made = derived / f"{file.sha256}.Q4_0.gguf"
    made.write_bytes(b"made of it")
    assert going(sweep(home, told(file.sha256))) == set()
    assert going(sweep(home)) == {file.sha256, made.name}
    assert not made.exists()


async def test_broken_off_download_stays_a_week_and_one_that_runs_for_ever(home, blobs):
    for suffix in ("partial", "json"):
        (blobs.partial / f"{'ab' * 32}.{suffix}").write_bytes(b"half")
    assert reasons(sweep(home)) == {"it can be continued"}
    async with hold(blobs.partial / f"{'ab' * 32}.lock"):
        collected = await asyncio.to_thread(sweep, home, broken_off_s=0.0)
        assert reasons(collected) == {"it is being fetched"}
    old = time.time() - BROKEN_OFF_S - 60
    for path in blobs.partial.iterdir():
        os.utime(path, (old, old))
    assert going(sweep(home, broken_off_s=0.0)) == {"ab" * 32}
    assert list(blobs.partial.iterdir()) == []


def test_locks_that_nobody_holds_go_too(home, blobs):
    (blobs.locks / f"{'cd' * 32}.lock").write_bytes(b"")
    sweep(home)
    assert [path.name for path in blobs.locks.iterdir()] == ["collect.lock"]


async def test_lock_removed_while_somebody_waits_for_it_still_has_one_holder(blobs):
    path, inside, most = blobs.locks / "x.lock", 0, 0

    async def enter():
        nonlocal inside, most
        async with hold(path, is_kept=False):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(6)))
    assert most == 1
    assert not path.exists()


# files beside each other


def test_files_are_laid_out_together_or_not_at_all(blobs):
    one = put(blobs, b"one")
    made = manifest("gguf", [one, File("sub/two.gguf", "0" * 64, 3)])
    with pytest.raises(NotFound, match=r"sub/two\.gguf is not here"):
        blobs.lay_out(made)
    assert list(blobs.revisions.iterdir()) == []


def test_laid_out_files_are_the_blobs_themselves_and_are_mended(blobs):
    made = manifest("safetensors", [put(blobs, b"one"), put(blobs, b"two")])
    folder = blobs.lay_out(made)
    assert folder.joinpath("one.gguf").samefile(blobs.path(made.files[0].sha256))
    folder.joinpath("one.gguf").unlink()
    assert blobs.lay_out(made) == folder
    assert folder.joinpath("one.gguf").read_bytes() == b"one"
    assert [path.name for path in blobs.revisions.iterdir()] == [made.revision]


def test_folder_that_cannot_be_written_is_said_in_words(tmp_path):
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(CommandError, match="cannot be made"):
        sweep(tmp_path)
