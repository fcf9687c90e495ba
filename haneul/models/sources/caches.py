"""The caches that the hubs' own clients keep on this machine, as a source. They are only read.

Hugging Face (huggingface_hub 2.4): models--ORG--REPO with `refs/NAME` (a commit), `blobs/ETAG`
(for large files the SHA-256) and `snapshots/COMMIT/PATH`, links to the blobs. ModelScope
(modelscope-hub 0.5.1): models/ORG--REPO/snapshots/REVISION/PATH, and before 2026 the files
themselves under models/ORG/REPO or hub/models/ORG/REPO, a dot in a name written as `___`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from haneul.models.manifest import FILES_MAX, SHA256
from haneul.models.sources.listing import Listing
from haneul.models.sources.offer import Listed, Part

COMMIT = re.compile(r"[0-9a-f]{40}")
DEPTH_MAX = 8
REF_MAX_BYTES = 256


def huggingface(cache: Path, repository: str, revision: str) -> Listing | None:
    """What the client's cache has of the repository at its last known commit; None for nothing."""
    folder = _huggingface_folder(cache, repository)
    commit = revision if COMMIT.fullmatch(revision) else _ref(folder, revision or "main")
    if not COMMIT.fullmatch(commit):
        return None
    found = _listing(folder / "snapshots" / commit, "Hugging Face's cache", commit)
    return found if found and found.files else None


def huggingface_blob(cache: Path, repository: str, file: Listed) -> Path | None:
    """The file in the client's cache whatever commit it came with, by its hash and size."""
    if not SHA256.fullmatch(file.sha256):
        return None
    path = _huggingface_folder(cache, repository) / "blobs" / file.sha256
    size = _size(path)
    return path if size is not None and file.bytes in (None, size) else None


def modelscope(cache: Path, repository: str, revision: str) -> Listing | None:
    """What the client's cache has of the repository at that revision; None for nothing."""
    for folder in _modelscope_folders(cache, repository, revision):
        found = _listing(folder, "ModelScope's cache", revision or "master")
        if found and found.files:
            return found
    return None


def modelscope_file(cache: Path, repository: str, revision: str, file: Listed) -> Path | None:
    """The file in the client's cache, if it has the size that the hub lists."""
    for folder in _modelscope_folders(cache, repository, revision):
        path = folder / file.path
        if file.bytes is not None and _size(path) == file.bytes:
            return path
    return None


def folder(path: Path) -> Listing | None:
    """What a folder of this machine has; None where there is no such folder."""
    return _listing(path, "folder", "")


def _huggingface_folder(cache: Path, repository: str) -> Path:
    return cache / f"models--{repository.replace('/', '--')}"


def _modelscope_folders(cache: Path, repository: str, revision: str) -> list[Path]:
    """Where the client kept or keeps it, the newest way first."""
    owner, _, name = repository.partition("/")
    folders = [
        cache / "models" / f"{owner}--{name}" / "snapshots" / (revision or "master"),
    ]
    if not revision:  # the older ways know of no revision
        old = name.replace(".", "___")
        folders += [
            cache / "models" / owner / old,
            cache / "hub" / "models" / owner / old,
            cache / "hub" / owner / old,
            cache / owner / old,
        ]
    return folders


def _ref(folder: Path, name: str) -> str:
    """The commit that a branch or tag was when it was last looked at."""
    steps = name.split("/")
    if any(step in ("", ".", "..") for step in steps):
        return ""
    try:
        with folder.joinpath("refs", *steps).open("rb") as file:
            return file.read(REF_MAX_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _listing(folder: Path, source: str, revision: str) -> Listing | None:
    """The files below a folder; None where there is none that may be read."""
    try:
        if not folder.is_dir():
            return None
    except OSError:
        return None
    files, parts = [], {}
    for path in _files(folder, DEPTH_MAX):
        size = _size(path)
        if size is None:
            continue
        name = path.relative_to(folder).as_posix()
        blob = _blob_name(path)
        files.append(Listed(name, size, blob))
        parts[name] = Part(path=path.resolve(), bytes=0)  # a link to a link would lead nowhere
        if len(files) >= FILES_MAX:
            break
    return Listing(source=source, revision=revision, files=tuple(files), parts=parts)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Every file below, in order, hidden ones and folders reached by links left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from _files(Path(entry.path), depth - 1)
        else:
            yield Path(entry.path)


def _blob_name(path: Path) -> str:
    """The SHA-256 that the blob behind a snapshot's link is named by; "" where it is not."""
    try:
        name = os.path.basename(os.readlink(path))
    except OSError:
        return ""
    return name if SHA256.fullmatch(name) else ""


def _size(path: Path) -> int | None:
    """Bytes of a plain file, or of the one that a link leads to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
