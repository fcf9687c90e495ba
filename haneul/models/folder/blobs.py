"""Model files by their content: HOME/models/blobs/sha256-HEX, and the names they were pulled by.

A digest has one form and nothing else becomes a path; a symbolic link is never taken for a blob.
Beside the blobs lie `partial` (what is being fetched), `locks`, `names`: one small file per name
that was pulled, so that a second pull needs no network, and `revisions`: for engines that want the
files of a model beside each other, ID/PATH as further links to the blobs.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest, CommandError, NotFound
from haneul.models.manifest import SHA256, File, Format, Manifest


class Kept(Struct, frozen=True, kw_only=True):
    """What is remembered of a pull: which bytes a name stands for, and where they came from."""

    name: str
    sha256: str  # of the one file; of several the manifest's own name
    bytes: int
    source: str
    revision: str
    licence: str
    format: Format = "gguf"
    files: tuple[File, ...] = ()  # (): the one blob, whatever its name was
    left_out: tuple[str, ...] = ()  # of the source's files, and why

    @property
    def digests(self) -> tuple[str, ...]:
        """Of every blob it needs."""
        return tuple(file.sha256 for file in self.files) or (self.sha256,)


class Blobs:
    """The store under HOME/models. Every method may touch the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partial = folder / "partial"
        self.locks = folder / "locks"
        self.blobs = folder / "blobs"
        self.names = folder / "names"
        self.revisions = folder / "revisions"

    @property
    def folders(self) -> tuple[Path, ...]:
        """What there is in it."""
        return self.partial, self.locks, self.blobs, self.names, self.revisions

    def open(self) -> None:
        """Makes the folders. Raises CommandError."""
        try:
            for folder in self.folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise CommandError(f"The model folder cannot be made: {cause.strerror}.") from cause

    def path(self, sha256: str) -> Path:
        """Where the blob of that digest is or would be. Raises BadRequest for anything else."""
        if not SHA256.fullmatch(sha256):
            raise BadRequest("A digest is 64 hexadecimal digits in lower case.")
        return self.blobs / f"sha256-{sha256}"

    def size(self, sha256: str) -> int | None:
        """Bytes of the blob; None when there is none (a link in its place is none)."""
        try:
            found = self.path(sha256).lstat()
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def take(self, file: Path, sha256: str) -> Path:
        """Moves a finished, synced file of this file system in, durably; returns its path."""
        path = self.path(sha256)
        file.replace(path)
        _sync_folder(path.parent)
        return path

    def verify(self, sha256: str) -> bool:
        """Whether the blob's bytes still have its digest; reads all of it."""
        if self.size(sha256) is None:
            raise NotFound("There is no such blob.")
        return file_sha256(self.path(sha256)) == sha256

    def remove(self, sha256: str) -> None:
        """Deletes the blob and every name that stood for it. Raises NotFound."""
        try:
            self.path(sha256).unlink()
        except FileNotFoundError as cause:
            raise NotFound("There is no such blob.") from cause
        for path in self.names.glob("*.json"):
            kept = _read(path)
            if kept is not None and sha256 in (kept.sha256, *kept.digests):
                path.unlink(missing_ok=True)

    def lay_out(self, manifest: Manifest) -> Path:
        """A folder with the manifest's files under their paths, all of them or none.

        They are links to the blobs and take no room. Raises NotFound for a blob that is not here.
        """
        folder = self.revisions / manifest.revision
        if self._is_laid_out(folder, manifest):
            return folder
        mark = f".{manifest.revision[:12]}-{os.getpid()}-{secrets.token_hex(4)}"
        fresh, old = self.revisions / f"{mark}.fresh", self.revisions / f"{mark}.old"
        try:
            for file in manifest.files:
                self._link(file, fresh / file.path)
            for made in {path.parent for path in fresh.rglob("*")}:
                _sync_folder(made)
            with suppress(FileNotFoundError):
                folder.rename(old)
            with suppress(OSError):  # another process was faster
                fresh.rename(folder)
            _sync_folder(self.revisions)
        finally:
            for left in (fresh, old):
                shutil.rmtree(left, ignore_errors=True)
        if not self._is_laid_out(folder, manifest):
            raise CommandError("The files of the model cannot be laid out beside each other.")
        return folder

    def _link(self, file: File, path: Path) -> None:
        if self.size(file.sha256) != file.bytes:
            raise NotFound(f"The model's file {file.path} is not here.")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.path(file.sha256), path)
        except OSError:  # a file system without links of this kind
            path.symlink_to(os.path.relpath(self.path(file.sha256), path.parent))

    def _is_laid_out(self, folder: Path, manifest: Manifest) -> bool:
        try:
            return all(
                folder.joinpath(file.path).samefile(self.path(file.sha256))
                for file in manifest.files
            )
        except OSError:
            return False

    def remember(self, kept: Kept) -> None:
        """Notes which blob a name stands for from now on."""
        path = self._name_path(kept.name)
        fresh = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}")
        fresh.write_bytes(msgspec.json.encode(kept))
        fresh.replace(path)

    def recall(self, name: str) -> Kept | None:
        """What the name was pulled to, if that blob is still here in its size."""
        kept = _read(self._name_path(name))
        if kept is None or kept.name != name or not SHA256.fullmatch(kept.sha256):
            return None
        if not kept.files:
            return kept if self.size(kept.sha256) == kept.bytes else None
        is_whole = all(self.size(file.sha256) == file.bytes for file in kept.files)
        return kept if is_whole else None

    def _name_path(self, name: str) -> Path:
        return self.names / (hashlib.sha256(name.encode()).hexdigest() + ".json")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
