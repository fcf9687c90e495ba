"""Takes a model file of this machine into the store.

It is hard-linked where it can be, else copied. Not referenced in place: then removing or replacing
the file (writers replace by renaming) would take the model from under its engine. A link costs no
room and no time for a file of many gigabytes, and keeps the bytes whatever becomes of the name.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from haneul.base.errors import BrokenFile, CommandError
from haneul.base.gguf import check_file
from haneul.models.folder.blobs import Blobs, Kept, file_sha256
from haneul.models.pulling.space import check_space


def adopt(typed: str, blobs: Blobs) -> Kept:
    """Validates the file, hashes it and links or copies it in; at once if that was done before.

    Raises BrokenFile with the reason, CommandError for a disk that is full. Takes seconds for
    gigabytes: call it in a thread.
    """
    path = Path(typed).expanduser().resolve()
    try:
        found = path.stat()
    except OSError as cause:
        raise BrokenFile(f"There is no file at {typed}.") from cause
    name = f"file:{path} {found.st_size} {found.st_mtime_ns} {found.st_ino}"
    known = blobs.recall(name)
    if known is not None:
        return known
    held = blobs.partial / f"adopt-{os.getpid()}-{secrets.token_hex(4)}.gguf"
    try:
        _link_or_copy(path, held)
        header = check_file(held)
        sha256 = file_sha256(held)
        blobs.take(held, sha256)
    except OSError as cause:
        raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause
    finally:
        held.unlink(missing_ok=True)
    licence = header.metadata.get("general.license", "")
    kept = Kept(
        name=name,
        sha256=sha256,
        bytes=header.file_bytes,
        source="file",
        revision="",
        licence=licence if isinstance(licence, str) else "",
    )
    blobs.remember(kept)
    return kept


def _link_or_copy(path: Path, held: Path) -> None:
    try:
        os.link(path, held)
    except OSError:  # another file system, or one without links
        check_space(held.parent, path.stat().st_size)
        shutil.copyfile(path, held)
        with held.open("rb") as file:
            os.fsync(file.fileno())
