"""Writes a copy of a model file with its weights in another format.

    python -m haneul.engine.requantise SOURCE TARGET --type Q4_0

Some kernels do not read every format, and some formats are faster than others on some chips. What
is lost is lost: from 4-bit weights nothing better comes. Matrices change; embeddings and the output
keep 8 bits at least; norms, biases and routers stay as they are. The metadata is kept as it is but
for the file's type, and says from which file the copy was made.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from msgspec import Struct

from haneul.base.errors import BrokenFile, HaneulError
from haneul.base.gguf import Header, Tensor, check_file
from haneul.base.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from haneul.engine.gguf_blocks import FORMS, READERS, WRITERS, blocks, floats

FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7}  # general.file_type (llama.h, llama_ftype)
GUARDED = ("token_embd.weight", "output.weight")  # every token passes them: 8 bits at least
NUMBERS = {form.name: number for number, form in TENSOR_TYPES.items()}
PART_WEIGHTS = 1 << 22  # worked on at a time: about 60 MB
UINT32 = 4
COPY_BYTES = 1 << 20

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Plan(Struct, frozen=True):
    """What becomes of one tensor: its format and place in the copy."""

    source: Tensor
    kind: str
    offset: int
    size_bytes: int


def requantise(source: Path, target: Path, kind: str) -> None:
    """Writes the copy; `target` appears whole or not at all.

    `kind`: "Q4_0", "Q8_0" or "F16". Raises BrokenFile for what cannot be read or turned.
    """
    if kind not in WRITERS:
        raise BrokenFile(f"Weights cannot be written as {kind}; {', '.join(WRITERS)} can be.")
    header = check_file(source)
    plans = plan(header, kind)
    part = target.with_name(target.name + ".part")
    try:
        with source.open("rb") as read, part.open("wb") as write:
            write.write(head(read, header, plans, file_type=kind, made_from=_digest(read)))
            for one in plans:
                _write_tensor(read, write, header, one)
            write.flush()
            os.fsync(write.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def plan(header: Header, kind: str) -> list[Plan]:
    """The tensors of the copy, in the order of the file. Raises BrokenFile."""
    plans = []
    offset = 0
    for tensor in header.tensors:
        form = _kind_for(tensor, kind)
        if form != tensor.type and tensor.type not in READERS:
            raise BrokenFile(f"{tensor.name} is {tensor.type}, which cannot be turned.")
        size = math.prod(tensor.dims) // FORMS[form].block_weights * FORMS[form].block_bytes
        plans.append(Plan(tensor, form, offset, size))
        offset += -(-size // header.alignment) * header.alignment
    return plans


def _kind_for(tensor: Tensor, kind: str) -> str:
    is_matrix = len(tensor.dims) > 1 and tensor.name.endswith(".weight")
    if not is_matrix or "ffn_gate_inp" in tensor.name or "_norm" in tensor.name:
        return tensor.type
    if tensor.dims[0] % FORMS[kind].block_weights:
        return "F16"
    return "Q8_0" if kind == "Q4_0" and tensor.name in GUARDED else kind


def head(
    read: BinaryIO, header: Header, plans: list[Plan], *, file_type: str, made_from: str
) -> bytes:
    """Everything before the weights of a copy, with the padding: the metadata and the plans."""
    added = [
        _pair("general.file_type", FILE_TYPES[file_type]),
        _pair("general.quantization_version", 2),
        _pair("haneul.requantised_from", made_from),
    ]
    replaced = {"general.file_type", "general.quantization_version", "haneul.requantised_from"}
    kept = [data for key, data in _pairs(read) if key not in replaced]
    data = bytearray(b"GGUF" + _U32.pack(3))
    data += _U64.pack(len(plans)) + _U64.pack(len(kept) + len(added))
    data += b"".join(kept + added)
    for one in plans:
        data += _text(one.source.name) + _U32.pack(len(one.source.dims))
        data += b"".join(_U64.pack(dim) for dim in one.source.dims)
        data += _U32.pack(NUMBERS[one.kind]) + _U64.pack(one.offset)
    return bytes(data) + bytes(-len(data) % header.alignment)


def _write_tensor(read: BinaryIO, write: BinaryIO, header: Header, one: Plan) -> None:
    source = one.source
    read.seek(header.data_offset + source.offset)
    form = FORMS[source.type]
    # a part ends with a row, and a row with a whole block of either format
    rows = max(1, PART_WEIGHTS // source.dims[0])
    row_bytes = source.dims[0] // form.block_weights * form.block_bytes
    left = math.prod(source.dims[1:])
    while left:
        count = min(rows, left)
        data = np.frombuffer(_exactly(read, count * row_bytes), dtype=np.uint8)
        if one.kind != source.type:
            data = blocks(floats(data, source.type), one.kind)
        write.write(data.data)
        left -= count
    write.write(bytes(-one.size_bytes % header.alignment))


def _pairs(read: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Every pair of metadata with its bytes as they stand. The header was proven before."""
    read.seek(8)
    _, pairs = _number(read, _U64), _number(read, _U64)
    for _ in range(pairs):
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


def _pair(key: str, value: int | str) -> bytes:
    if isinstance(value, str):
        return _text(key) + _U32.pack(STRING) + _text(value)
    return _text(key) + _U32.pack(UINT32) + _U32.pack(value)


def _digest(read: BinaryIO) -> str:
    read.seek(0)
    digest = hashlib.sha256()
    while data := read.read(COPY_BYTES):
        digest.update(data)
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """The exit code; what went wrong is printed."""
    parser = argparse.ArgumentParser(prog="python -m haneul.engine.requantise")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=sorted(WRITERS), default="Q4_0", dest="kind")
    given = parser.parse_args(arguments)
    try:
        requantise(given.source, given.target, given.kind)
    except HaneulError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The copy cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
