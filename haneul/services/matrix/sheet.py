"""The file that rows travel in: a line that says what it is, then a signed row on every line.

A signature is of a row's own bytes, so that one changed row is found by its name and the others
are not in doubt. What is signed begins with words of its own: it is good for nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta, Struct
from nacl.signing import SigningKey

from haneul.base import strict_json
from haneul.base.errors import BrokenFile
from haneul.base.visible import visible
from haneul.models.bundle import keys
from haneul.services.matrix.row import MatrixRow, named

FORMAT = "haneul matrix 1"
SIGNED = b"matrix row 1\0"  # no bundle begins so
ROWS_MOST = 10_000
LINE_BYTES_MOST = 8 << 10
VALUES_MOST = 64  # of one line
FIRST = msgspec.json.encode({"format": FORMAT})


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One line: the row's bytes as they were signed, by whom, and the signature."""

    row: msgspec.Raw
    key: Annotated[str, Meta(pattern=r"^ed25519:[0-9a-f]{64}\Z")]
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class Signed(Struct, frozen=True):
    """A row that its signer vouches for."""

    row: MatrixRow
    signer: str
    signature: str
    written: bytes

    @property
    def id(self) -> str:
        """The same for the same row of the same signer."""
        return hashlib.sha256(self.signer.encode() + b"\0" + self.written).hexdigest()


def write(rows: Iterable[MatrixRow], key: SigningKey, file: BinaryIO) -> int:
    """Writes the rows, signed; how many there were. Raises BrokenFile for what none takes in."""
    file.write(FIRST + b"\n")
    count = 0
    for row in rows:
        count += 1
        if count > ROWS_MOST:
            raise BrokenFile(f"A file holds {ROWS_MOST:,} rows at most.")
        written = _written(row, count)
        signature = keys.sign(key, SIGNED + written).hex()
        line = Line(msgspec.Raw(written), keys.public(key), signature)
        file.write(msgspec.json.encode(line) + b"\n")
    return count


def _written(row: MatrixRow, number: int) -> bytes:
    """What is signed: never a row that whoever reads it would refuse."""
    written = msgspec.json.encode(row)
    try:
        msgspec.json.decode(written, type=MatrixRow)
    except msgspec.MsgspecError as cause:
        said = visible(f"Row {number}, {named(row)}, cannot be written: {cause}.")
        raise BrokenFile(said) from cause
    return written


def read(file: BinaryIO, *, rows_most: int = ROWS_MOST) -> Iterator[Signed]:
    """Every row with its signer, checked. Raises BrokenFile with the row's place and name.

    Whether the signer is trusted is not asked here.
    """
    if file.readline(LINE_BYTES_MOST).rstrip(b"\r\n") != FIRST:
        raise BrokenFile("This is no file of matrix rows: haneul chips matrix export writes one.")
    for number in range(1, rows_most + 2):
        line = file.readline(LINE_BYTES_MOST + 1)
        if not line:
            return
        if number > rows_most:
            break
        if len(line) > LINE_BYTES_MOST:
            raise BrokenFile(f"Row {number} is longer than {LINE_BYTES_MOST:,} bytes.")
        yield _checked(line.rstrip(b"\r\n"), number)
    raise BrokenFile(f"The file holds more than {rows_most:,} rows.")


def _checked(line: bytes, number: int) -> Signed:
    place = f"Row {number}"
    strict_json.read(line, place, values_max=VALUES_MOST)
    try:
        found = msgspec.json.decode(line, type=Line)
        row = msgspec.json.decode(found.row, type=MatrixRow)
    except msgspec.MsgspecError as cause:
        raise BrokenFile(visible(f"{place} is no row of a matrix: {cause}.")) from cause
    written = bytes(found.row)
    try:
        keys.check(found.key, SIGNED + written, bytes.fromhex(found.signature))
    except BrokenFile as cause:
        said = f"{place}, {named(row)}, was changed after {found.key[:20]}… signed it."
        raise BrokenFile(said) from cause
    return Signed(row, found.key, found.signature, written)
