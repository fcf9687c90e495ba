"""What nothing refers to any more is removed from the model folder; what is in use never is.

In use is what a model or revision of the database names, what a pull that is running relies on
(pins.py), what any process of this user holds open or mapped, such as a running cloud's engine,
and whatever came or was asked for within the last day: between a pull's or a push's end and the
row that names it nothing else would speak for it. A download that was broken off is kept for a
week, so that it can be continued.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base import places
from haneul.models.folder.blobs import Blobs, Kept
from haneul.models.folder.lock import hold_at_once
from haneul.models.folder.open_files import open_files
from haneul.models.folder.pins import COLLECTING, collecting
from haneul.models.manifest import SHA256, read
from haneul.store import models as model_queries
from haneul.store import revisions as revision_queries

RECENT_S = 86400.0
BROKEN_OFF_S = 7 * 86400.0

Kind = Literal["blob", "revision", "download", "requantised"]


class Referenced(Struct, frozen=True):
    """What the database names: digests of files and of models, and revisions."""

    digests: frozenset[str]
    revisions: frozenset[str]


class Rubbish(Struct, frozen=True, kw_only=True):
    """Something that nothing refers to; removed unless something spares it."""

    kind: Kind
    name: str
    bytes: int  # its size; room is won when its last link goes
    spared: str = ""  # why it stays for now; "": it goes


class Collected(Struct, frozen=True, kw_only=True):
    """What was found, and the bytes that removing it gave back, or would give."""

    found: tuple[Rubbish, ...]
    freed_bytes: int
    is_dry: bool


def referenced(connection: Connection) -> Referenced:
    """Everything that a model or a revision needs that was not withdrawn."""
    digests, revisions = set(), set()
    for model in model_queries.every(connection):
        digests.add(model.digest)
        revisions.add(model.digest)
    for row in revision_queries.every(connection):
        if row.withdrawn_us is not None:
            continue
        revisions.add(row.id)
        digests.add(row.digest)
        digests.update(file.sha256 for file in read(row.manifest).files)
    return Referenced(frozenset(digests), frozenset(revisions))


def collect(
    home: Path,
    ask: Callable[[], Referenced],
    *,
    is_dry: bool,
    recent_s: float = RECENT_S,
    broken_off_s: float = BROKEN_OFF_S,
) -> Collected:
    """Removes what nothing needs, or with is_dry only says what that would be.

    `ask` reads the database, after the pulls that are running were. Raises CommandError when
    another process collects for long, or the folder cannot be written.
    """
    blobs = Blobs(places.blobs(home))
    blobs.open()
    with collecting(blobs.locks) as pinned:
        needed = ask()
        search = _Search(blobs, needed, frozenset(pinned), recent_s=recent_s)
        found = [
            *search.revisions(),
            *search.blobs(),
            *search.requantised(places.derived(home)),
            *_downloads(blobs, pinned, broken_off_s),
        ]
        going = [(rubbish, paths) for rubbish, paths in found if not rubbish.spared]
        freed_bytes = _freed(paths for _, paths in going)
        if not is_dry:
            for rubbish, paths in going:
                _remove(rubbish, paths, blobs)
            _tidy(blobs, recent_s)
    return Collected(
        found=tuple(rubbish for rubbish, _ in found), freed_bytes=freed_bytes, is_dry=is_dry
    )


Found = Iterator[tuple[Rubbish, list[Path]]]


class _Search:
    """Goes through the folder once, with what is known to be in use."""

    def __init__(
        self, blobs: Blobs, needed: Referenced, pinned: frozenset[str], *, recent_s: float
    ) -> None:
        self._blobs, self._needed, self._recent_s = blobs, needed, recent_s
        self._pinned = pinned | _named_lately(blobs, recent_s)
        self._open = open_files()
        self._laid_out: set[int] = set()  # blobs that a folder which stays holds

    def revisions(self) -> Found:
        """Folders of files beside each other, of revisions that nobody knows."""
        for folder in sorted(self._blobs.revisions.iterdir()):
            files = [path for path in folder.rglob("*") if not path.is_dir()]
            inodes = {number for path in files if (number := _inode(path))}
            if folder.name in self._needed.revisions:
                self._laid_out |= inodes
                continue
            spared = self._spared(inodes, [folder], name=folder.name)
            if spared:
                self._laid_out |= inodes
            size = sum(path.stat().st_size for path in files if path.exists())
            yield Rubbish(kind="revision", name=folder.name, bytes=size, spared=spared), files

    def blobs(self) -> Found:
        """Files that no revision and no model is made of."""
        for path in sorted(self._blobs.blobs.iterdir()):
            digest = path.name.removeprefix("sha256-")
            inode = _inode(path)
            if not SHA256.fullmatch(digest) or digest in self._needed.digests:
                continue
            if inode in self._laid_out or inode is None:
                continue
            spared = self._spared({inode}, [path], name=digest)
            size = path.lstat().st_size
            yield Rubbish(kind="blob", name=digest, bytes=size, spared=spared), [path]

    def requantised(self, folder: Path) -> Found:
        """What was made of a file, whole or not, when that file is nobody's any more."""
        for path in sorted(folder.glob("*.gguf*")) if folder.is_dir() else ():
            digest = path.name.partition(".")[0]
            inode = _inode(path)
            if digest in self._needed.digests or inode is None:
                continue
            spared = self._spared({inode}, [path], name=digest)
            size = path.lstat().st_size
            yield Rubbish(kind="requantised", name=path.name, bytes=size, spared=spared), [path]

    def _spared(self, inodes: set[int], paths: list[Path], *, name: str) -> str:
        if name in self._pinned:
            return "a pull relies on it, or did within a day"
        if inodes & self._open:
            return "a process has it open"
        if any(_age_s(path) < self._recent_s for path in paths):
            return "it came within the last day"
        return ""


def _downloads(blobs: Blobs, pinned: Collection[str], broken_off_s: float) -> Found:
    """What was being fetched and is not any more."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(blobs.partial.iterdir()):
        if path.suffix != ".lock" and path.is_file():
            groups.setdefault(path.name.partition(".")[0], []).append(path)
    for name, paths in groups.items():
        spared = "it can be continued" if min(map(_age_s, paths)) < broken_off_s else ""
        with hold_at_once(blobs.partial / f"{name}.lock") as is_free:
            if not is_free or name in pinned:
                spared = "it is being fetched"
            if is_free:
                blobs.partial.joinpath(f"{name}.lock").unlink()
        size = sum(path.lstat().st_size for path in paths)
        yield Rubbish(kind="download", name=name, bytes=size, spared=spared), paths


def _named_lately(blobs: Blobs, recent_s: float) -> frozenset[str]:
    """The digests of models that were pulled, or asked for again, a short while ago."""
    found: set[str] = set()
    for path in blobs.names.glob("*.json"):
        kept = _kept(path)
        if kept is not None and _age_s(path) < recent_s:
            found.update((kept.sha256, *kept.digests))
    return frozenset(found)


def _kept(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def _freed(groups: Iterable[list[Path]]) -> int:
    """Bytes of the files whose every link is among those that go."""
    links: dict[tuple[int, int], list[int]] = {}
    for paths in groups:
        for path in paths:
            found = path.lstat()
            seen = links.setdefault((found.st_dev, found.st_ino), [found.st_nlink, found.st_size])
            seen[0] -= 1
    return sum(size for left, size in links.values() if left == 0)


def _remove(rubbish: Rubbish, paths: list[Path], blobs: Blobs) -> None:
    if rubbish.kind == "revision":
        folder = blobs.revisions / rubbish.name
        gone = folder.with_name(f".{rubbish.name[:12]}-{os.getpid()}.gone")
        folder.rename(gone)  # all of it is gone at once
        shutil.rmtree(gone)
        return
    for path in paths:
        path.unlink(missing_ok=True)


def _tidy(blobs: Blobs, recent_s: float) -> None:
    """Removes names that stand for nothing, and locks that nobody holds."""
    for path in blobs.names.glob("*.json"):
        kept = _kept(path)
        if kept is None or any(blobs.size(digest) is None for digest in kept.digests):
            path.unlink(missing_ok=True)
    for path in (*blobs.locks.glob("*.lock"), *blobs.partial.glob("*.lock")):
        if path.name == COLLECTING or _age_s(path) < recent_s:
            continue
        with hold_at_once(path) as is_free:
            if is_free:
                path.unlink(missing_ok=True)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _age_s(path: Path) -> float:
    """Since it was written, linked or renamed."""
    try:
        found = path.lstat()
    except OSError:
        return 0.0
    return time.time() - max(found.st_mtime, found.st_ctime)
