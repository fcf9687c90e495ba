"""A GGUF model in several files: whether they are the parts of one model, all of them, in order.

Each part says its number, how many there are, and how many tensors they hold together; an engine
that believed one that lies would read past the end of another. The first has what describes the
model, and may hold no tensor at all.

Source of the keys and names: llama.cpp, llama-model-loader.cpp and llama_split_path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import shown
from haneul.base.gguf import Header, read_header
from haneul.base.gguf_model import check_model, check_order

PARTS_MAX = 1024  # the largest model known has 60
TENSORS_MAX = 1 << 19  # of all parts
_ALIKE = ("general.architecture", "general.name")
_COMPARED = {*_ALIKE, "split.no", "split.count", "split.tensors.count"}
_NAME = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


class Split(Struct, frozen=True):
    """What a part says of itself: its number from 0, how many parts and tensors there are."""

    number: int
    parts: int
    tensors: int


def split_of(header: Header) -> Split | None:
    """What the header says of its place among parts; None for a file that is whole.

    Raises BrokenFile where it says it wrongly.
    """
    parts = _number(header, "split.count", PARTS_MAX) if "split.count" in header.metadata else 0
    if parts < 2:
        return None
    number = _number(header, "split.no", PARTS_MAX)
    if number >= parts:
        raise BrokenFile(f"split.no is {number} of {parts} parts, counted from 0.")
    return Split(number, parts, _number(header, "split.tensors.count", TENSORS_MAX))


def check_files(path: str | os.PathLike[str]) -> Header:
    """The header of a model that an engine may be given by its only or its first file.

    Of several files it is the whole's (see joined): they lie beside the first under the names
    that engines look for. Raises BrokenFile with the reason.
    """
    first = read_header(path)
    split = split_of(first)
    if split is None:
        check_model(first)
        return first
    beside = names(Path(path).name)
    if len(beside) != split.parts or beside[0] != Path(path).name:
        raise BrokenFile(
            f"The file is one of {split.parts} parts, and not called as the first of them: "
            f"NAME-00001-of-{split.parts:05d}.gguf."
        )
    headers, tensors = [first], len(first.tensors)
    for name in beside[1:]:
        try:
            header = read_header(Path(path).with_name(name))
        except BrokenFile as cause:
            raise BrokenFile(f"{name}: {cause.message}") from cause
        headers.append(_bare(header))
        tensors += len(header.tensors)
        if tensors > split.tensors:
            raise BrokenFile(f"The parts hold more than {split.tensors} tensors, as they say.")
    whole = joined(headers)
    check_model(whole)
    return whole


def _bare(header: Header) -> Header:
    """A part with only the metadata that is compared, so that many keep little."""
    kept = {key: value for key, value in header.metadata.items() if key in _COMPARED}
    return msgspec.structs.replace(header, metadata=kept)


def joined(headers: Sequence[Header]) -> Header:
    """One header of all parts in their order: the first's metadata, every part's tensors.

    Its file_bytes are of all files; a tensor's offset still counts in the file it lies in. Raises
    BrokenFile where the parts do not belong together.
    """
    first = headers[0]
    told = [split_of(header) for header in headers]
    split = told[0]
    if split is None or split.parts != len(headers):
        parts = split.parts if split else 1
        raise BrokenFile(f"The first part speaks of {parts} parts; there are {len(headers)}.")
    for number, (header, said) in enumerate(zip(headers, told, strict=True)):
        if said is None or said.number != number:
            place = "none" if said is None else f"number {said.number + 1}"
            raise BrokenFile(f"Part {number + 1} of {split.parts} says that it is {place}.")
        _check_alike(number + 1, header, said, first, split)
        check_order(header)
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len(tensors) != split.tensors:
        raise BrokenFile(f"The parts hold {len(tensors)} tensors, not {split.tensors} as they say.")
    names = set()
    for tensor in tensors:
        if tensor.name in names:
            raise BrokenFile(f"tensor {shown(tensor.name)} lies in two parts.")
        names.add(tensor.name)
    return msgspec.structs.replace(
        first,
        tensors=tensors,
        file_bytes=sum(header.file_bytes for header in headers),
        parts=len(headers),
    )


def names(name: str) -> tuple[str, ...]:
    """The names of all parts of a file that is called like one of them; of any other its own."""
    found = _NAME.search(name)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= PARTS_MAX:
        return (name,)
    stem, count = name[: found.start()], int(found[2])
    return tuple(f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _check_alike(number: int, header: Header, said: Split, first: Header, split: Split) -> None:
    if (said.parts, said.tensors) != (split.parts, split.tensors):
        raise BrokenFile(
            f"Part {number} is of {said.parts} parts and {said.tensors} tensors, the first of "
            f"{split.parts} and {split.tensors}: they are of different models."
        )
    for key in _ALIKE:
        own = header.metadata.get(key)
        if own is not None and own != first.metadata.get(key):
            raise BrokenFile(f"Part {number} has another {key} than the first.")


def _number(header: Header, key: str, limit: int) -> int:
    value = header.metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise BrokenFile(f"{key} is missing or not a whole number up to {limit}.")
    return value
