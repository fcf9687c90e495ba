"""Writes a GGUF file after another: the metadata, then its tensors, each kept or turned.

The head of the copy is known before its first tensor is, so the file grows from front to back, a
few rows at a time, and can go on where it was cut off: beside it lies a note of how many tensors
are safely down, and of what work that was.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile
from haneul.base.gguf import Header, Tensor, read_header
from haneul.base.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from haneul.engine.derive.ggml import size_bytes

NUMBERS = {form.name: number for number, form in TENSOR_TYPES.items()}
UINT8, UINT32, INT32, FLOAT32, BOOL = 0, 4, 5, 6, 7
CHECKPOINT_BYTES = 256 << 20
SPLIT = ("split.no", "split.count", "split.tensors.count")
COPY_BYTES = 1 << 20

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

Value = int | str | float | bytes | list[str] | list[int] | list[float]
OnTensor = Callable[[int, int], None]  # tensors done, of how many


class Plan(Struct, frozen=True):
    """What becomes of one tensor: its format and place in the copy, and the file it comes from."""

    source: Tensor
    kind: str
    offset: int
    size_bytes: int
    file: int = 0


class Source:
    """The open file or files of a model, read by tensors. `close` it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.headers = [read_header(path) for path in paths]
        self._files = [path.open("rb") for path in paths]

    @property
    def header(self) -> Header:
        """The first file's, which has the metadata of all."""
        return self.headers[0]

    @property
    def tensors(self) -> list[Tensor]:
        return [tensor for header in self.headers for tensor in header.tensors]

    def places(self) -> dict[str, int]:
        """In which file each tensor lies."""
        return {
            tensor.name: number
            for number, header in enumerate(self.headers)
            for tensor in header.tensors
        }

    def read(self, plan: Plan, start: int, count: int) -> bytes:
        """So many bytes of a tensor, from the start-th on. Raises BrokenFile."""
        file, header = self._files[plan.file], self.headers[plan.file]
        file.seek(header.data_offset + plan.source.offset + start)
        return _exactly(file, count)

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        return pairs(self._files[0])

    def digest(self) -> str:
        """The SHA-256 of all files, one after another."""
        digest = hashlib.sha256()
        for file in self._files:
            file.seek(0)
            while data := file.read(COPY_BYTES):
                digest.update(data)
        return digest.hexdigest()

    def close(self) -> None:
        for file in self._files:
            file.close()


def lay_out(tensors: Iterable[tuple[int, Tensor, str]], alignment: int) -> list[Plan]:
    """Tensors one behind another: the file each comes from, the tensor, its format."""
    plans, offset = [], 0
    for file, tensor, kind in tensors:
        size = size_bytes(tensor.dims, kind)
        plans.append(Plan(tensor, kind, offset, size, file))
        offset += -(-size // alignment) * alignment
    return plans


def head(
    kept: Iterable[tuple[str, bytes]],
    plans: Sequence[Plan],
    *,
    added: dict[str, Value],
    alignment: int,
) -> bytes:
    """Everything before the weights of a copy, with the padding: the metadata and the plans."""
    left_out = {*added, *SPLIT}
    said = [data for key, data in kept if key not in left_out]
    said += [pair(key, value) for key, value in added.items()]
    data = bytearray(b"GGUF" + _U32.pack(3))
    data += _U64.pack(len(plans)) + _U64.pack(len(said)) + b"".join(said)
    for one in plans:
        data += _text(one.source.name) + _U32.pack(len(one.source.dims))
        data += b"".join(_U64.pack(dim) for dim in one.source.dims)
        data += _U32.pack(NUMBERS[one.kind]) + _U64.pack(one.offset)
    return bytes(data) + bytes(-len(data) % alignment)


class _Note(Struct, frozen=True):
    """What lies beside an unfinished copy."""

    work: str
    tensors: int


def write(
    target: Path,
    start: bytes,
    plans: Sequence[Plan],
    parts: Callable[[Plan], Iterable[bytes]],
    *,
    alignment: int,
    on_tensor: OnTensor | None = None,
    resumes: str = "",
    checkpoint_bytes: int = CHECKPOINT_BYTES,
) -> None:
    """Writes the copy; `target` appears whole or not at all.

    `parts` gives the bytes of one tensor. `resumes` names the work: an unfinished copy is then kept
    when it is cut off, and gone on with by the same work; without it nothing is left behind.
    """
    part = target.with_name(target.name + ".part")
    note = target.with_name(target.name + ".note")
    work = hashlib.sha256(start + resumes.encode()).hexdigest()
    done = _done(part, note, work, start, plans) if resumes else 0
    try:
        with part.open("r+b" if done else "wb") as file:
            file.truncate(_end(start, plans, done, alignment) if done else 0)
            file.seek(0, os.SEEK_END)
            if not done:
                file.write(start)
            saved = file.tell()
            for number, plan in enumerate(plans[done:], done):
                _write_tensor(file, plan, parts(plan), alignment)
                if on_tensor is not None:
                    on_tensor(number + 1, len(plans))
                if resumes and file.tell() - saved >= checkpoint_bytes:
                    _sync(file)
                    saved = file.tell()
                    _remember(note, _Note(work, number + 1))
            _sync(file)
        part.replace(target)
        note.unlink(missing_ok=True)
    finally:
        if not resumes:
            part.unlink(missing_ok=True)


def _write_tensor(file: BinaryIO, plan: Plan, parts: Iterable[bytes], alignment: int) -> None:
    size = 0
    for data in parts:
        file.write(data)
        size += len(data)
    if size != plan.size_bytes:
        raise BrokenFile(f"{plan.source.name} became {size} bytes, not {plan.size_bytes}.")
    file.write(bytes(-size % alignment))


def _done(part: Path, note: Path, work: str, start: bytes, plans: Sequence[Plan]) -> int:
    """How many tensors of the same work are safely down."""
    try:
        said = msgspec.json.decode(note.read_bytes(), type=_Note)
        size = part.stat().st_size
    except (OSError, msgspec.MsgspecError):
        return 0
    if said.work != work or not 0 < said.tensors <= len(plans):
        return 0
    last = plans[said.tensors - 1]
    return said.tensors if size >= len(start) + last.offset + last.size_bytes else 0


def _end(start: bytes, plans: Sequence[Plan], done: int, alignment: int) -> int:
    last = plans[done - 1]
    end = len(start) + last.offset + last.size_bytes
    return -(-end // alignment) * alignment


def _remember(note: Path, said: _Note) -> None:
    fresh = note.with_name(note.name + ".new")
    fresh.write_bytes(msgspec.json.encode(said))
    fresh.replace(note)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def pairs(read: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Every pair of metadata with its bytes as they stand. The header was proven before."""
    read.seek(8)
    _, count = _number(read, _U64), _number(read, _U64)
    for _ in range(count):
        start = read.tell()
        key = _exactly(read, _number(read, _U64)).decode()
        _skip_value(read, _number(read, _U32))
        end = read.tell()
        read.seek(start)
        yield key, _exactly(read, end - start)


def _skip_value(read: BinaryIO, kind: int) -> None:
    if kind == STRING:
        read.seek(_number(read, _U64), os.SEEK_CUR)
    elif kind != ARRAY:
        read.seek(SCALARS[kind].size, os.SEEK_CUR)
    else:
        inner, count = _number(read, _U32), _number(read, _U64)
        if inner != STRING:
            read.seek(SCALARS[inner].size * count, os.SEEK_CUR)
            return
        for _ in range(count):
            read.seek(_number(read, _U64), os.SEEK_CUR)


def _number(read: BinaryIO, layout: struct.Struct) -> int:
    value: int = layout.unpack(_exactly(read, layout.size))[0]
    return value


def _exactly(read: BinaryIO, count: int) -> bytes:
    data = read.read(count)
    if len(data) != count:
        raise BrokenFile("The file was cut while it was read.")
    return data


def _text(text: str) -> bytes:
    data = text.encode()
    return _U64.pack(len(data)) + data


def pair(key: str, value: Value) -> bytes:
    """One pair of metadata: a text, a number of 32 bits, a truth, bytes, or a list of one kind."""
    if isinstance(value, bytes):
        return _text(key) + _U32.pack(ARRAY) + _U32.pack(UINT8) + _U64.pack(len(value)) + value
    if not isinstance(value, list):
        kind, data = _typed(value)
        return _text(key) + _U32.pack(kind) + data
    parts = [_typed(each) for each in value]
    kind = INT32 if value and parts[0][0] == UINT32 else parts[0][0] if value else STRING
    body = b"".join(data for _, data in parts)
    return _text(key) + _U32.pack(ARRAY) + _U32.pack(kind) + _U64.pack(len(value)) + body


def _typed(value: str | int | float) -> tuple[int, bytes]:
    if isinstance(value, str):
        return STRING, _text(value)
    if isinstance(value, bool):
        return BOOL, bytes([value])
    if isinstance(value, int):
        return UINT32, _U32.pack(value)
    return FLOAT32, struct.pack("<f", value)
