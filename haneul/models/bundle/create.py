"""Writes a bundle: signed first, then every file in one stream, hashed on its way out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct
from nacl.signing import SigningKey

from haneul.base.errors import CommandError, Conflict, NotFound
from haneul.models.bundle import contents as form
from haneul.models.bundle import keys
from haneul.models.bundle.archive import BLOCK, CONTENTS, END, SIGNATURE, OnBytes, Writer
from haneul.models.bundle.contents import Contents
from haneul.models.bundle.prove import prove
from haneul.models.folder.blobs import Blobs
from haneul.models.pulling.space import check_space


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in bundle.sig."""

    key: str
    signature: str  # hexadecimal


def check_here(contents: Contents, blobs: Blobs) -> None:
    """Raises NotFound for a file that is not here, BrokenFile for what nobody would take."""
    form.read(form.dump(contents))
    for model in contents.models:
        for file in model.manifest.files:
            if blobs.size(file.sha256) != file.bytes:
                raise NotFound(f"{file.path} of {model.name} is not here any more; pull it again.")
        prove(model, blobs.path)


def write(
    contents: Contents, key: SigningKey, blobs: Blobs, file: BinaryIO, on_bytes: OnBytes
) -> None:
    """Writes the bundle. Raises BrokenFile for a file of this home that is damaged."""
    data = form.dump(contents)
    signed = Signature(keys.public(key), keys.sign(key, data).hex())
    writer = Writer(file)
    writer.small(CONTENTS, data)
    writer.small(SIGNATURE, msgspec.json.encode(signed))
    for blob in contents.blobs:
        with blobs.path(blob.sha256).open("rb") as source:
            writer.blob(blob.sha256, blob.bytes, source, on_bytes)
    writer.end()


@contextmanager
def new_file(path: Path, *, needed_bytes: int, is_forced: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole, and leaves nothing when it is not.

    Raises Conflict where there is one, CommandError for a folder that cannot take it.
    """
    if path.exists() and not is_forced:
        raise Conflict(f"{path.name} is there already; --force replaces it.")
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        check_space(path.absolute().parent, needed_bytes)
        with fresh.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as cause:
        raise CommandError(f"{path.name} cannot be written: {cause.strerror}.") from cause
    finally:
        fresh.unlink(missing_ok=True)


def whole_bytes(contents: Contents) -> int:
    """About how many bytes the file will have: no fewer than it has."""
    heads = (len(contents.blobs) + 4) * 2 * BLOCK + len(form.dump(contents)) + len(END)
    return contents.bytes + heads
