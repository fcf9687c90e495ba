"""Takes a bundle in: its signer first, then each file by its digest, then all names at once.

Files go into the store one by one as they are whole and of their digest, so a load that was cut
goes on after the last of them. No name means anything new before every file is there and proven:
the database takes all of it in one step, or nothing.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile, CommandError, NotAllowed
from haneul.models.bundle import contents as form
from haneul.models.bundle import keys
from haneul.models.bundle.archive import (
    CONTENTS,
    CONTENTS_MAX_BYTES,
    SIGNATURE,
    SIGNATURE_MAX_BYTES,
    OnBytes,
    Reader,
)
from haneul.models.bundle.contents import Blob, Contents
from haneul.models.bundle.create import Signature
from haneul.models.bundle.keys import Trusted
from haneul.models.bundle.prove import prove
from haneul.models.folder.accept import Accepted
from haneul.models.folder.blobs import Blobs
from haneul.models.pulling.space import check_space

HEXADECIMAL_64 = 128


class Signed(Struct, frozen=True, kw_only=True):
    """The contents of a bundle, and who stands for them."""

    contents: Contents
    signer: Trusted  # its name is "" for one that is not known here


def read_signed(
    reader: Reader, known: tuple[Trusted, ...], *, told: str | None = None, is_any: bool = False
) -> Signed:
    """What the bundle holds, once its signer is one whose bundles are taken.

    told is the one key that is right this time, is_any lets everybody's in; whoever it is must
    have signed these very contents. Raises NotAllowed, BrokenFile.
    """
    data = reader.small(CONTENTS, CONTENTS_MAX_BYTES)
    signed = _signature(reader.small(SIGNATURE, SIGNATURE_MAX_BYTES))
    names = {each.key: each.name for each in known}
    if told is not None and signed.key != told:
        raise NotAllowed(f"The bundle is signed by {signed.key}, not by {told}.")
    if told is None and not is_any and signed.key not in names:
        raise NotAllowed(
            f"The bundle is signed by {signed.key}, whom this home does not know. Once you are "
            f"sure whose key that is: haneul bundle trust {signed.key} --name NAME"
        )
    keys.check(signed.key, data, bytes.fromhex(signed.signature))
    return Signed(contents=form.read(data), signer=Trusted(signed.key, names.get(signed.key, "")))


def _signature(data: bytes) -> Signature:
    try:
        signed = msgspec.json.decode(data, type=Signature)
        is_right = len(bytes.fromhex(signed.signature)) * 2 == HEXADECIMAL_64
    except (msgspec.MsgspecError, ValueError) as cause:
        raise BrokenFile("The bundle has no signature that can be read.") from cause
    if not is_right or not keys.PUBLIC.fullmatch(signed.key):
        raise BrokenFile("The bundle has no signature that can be read.")
    return signed


def verify_files(reader: Reader, contents: Contents, on_bytes: OnBytes) -> None:
    """Reads every file of the bundle to its end. Raises BrokenFile where one is not as signed."""
    for blob in contents.blobs:
        reader.blob(blob.sha256, blob.bytes, _nowhere, on_bytes)
    reader.end()


def take_files(reader: Reader, contents: Contents, blobs: Blobs, on_bytes: OnBytes) -> int:
    """Brings every file into the store; how many were not there. Raises BrokenFile, CommandError.

    A file that is there in its size is gone past, as a pull does.
    """
    missing = {
        blob.sha256: blob.bytes for blob in contents.blobs if blobs.size(blob.sha256) != blob.bytes
    }
    check_space(blobs.folder, sum(missing.values()))
    for blob in contents.blobs:
        if blob.sha256 in missing:
            _take(reader, blob, blobs, on_bytes)
        else:
            reader.blob(blob.sha256, blob.bytes, None, on_bytes)
    reader.end()
    return len(missing)


def prove_all(contents: Contents, blobs: Blobs) -> list[Accepted]:
    """Each model's files, read as after a pull. Raises BrokenFile."""
    return [prove(model, blobs.path) for model in contents.models]


def _take(reader: Reader, blob: Blob, blobs: Blobs, on_bytes: OnBytes) -> None:
    fresh = blobs.partial / f"bundle-{os.getpid()}-{secrets.token_hex(4)}.partial"
    try:
        with _created(fresh) as file:
            reader.blob(blob.sha256, blob.bytes, file.write, on_bytes)
            file.flush()
            os.fsync(file.fileno())
        blobs.take(fresh, blob.sha256)
    except OSError as cause:
        raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause
    finally:
        fresh.unlink(missing_ok=True)


def _created(path: Path) -> BinaryIO:
    return path.open("xb")


def _nowhere(_part: bytes) -> None:
    """Where bytes go that are only looked at."""
