"""A safetensors model in several files: whether they hold what their index says, each tensor once.

The index (model.safetensors.index.json) names the file of every tensor. Its own `total_size` is
often wrong in honest repositories (written before a conversion, or counting tied weights once
more), so it is told and not judged; loaders do not read it either.

Source of the layout: huggingface_hub's split_torch_state_dict_into_shards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.base import strict_json
from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import opened, shown
from haneul.base.safetensors import Header, read_header

INDEX_MAX_BYTES = 64 << 20
VALUES_MAX = 1 << 21  # a model of 1,000 billion parameters has 140,000 tensors
SHARDS_MAX = 4096
TENSORS_MAX = 1 << 20
SUFFIX = ".index.json"
_NAME = re.compile(r"[\w+=@-][\w.+=@ -]{0,254}\.safetensors")


class Index(Struct, frozen=True):
    """The file of each tensor by its name, and what the index says of their bytes together."""

    file_of: dict[str, str]
    claimed_bytes: int | None

    @property
    def files(self) -> tuple[str, ...]:
        """The files, by name."""
        return tuple(sorted(set(self.file_of.values())))


class Whole(Struct, frozen=True, kw_only=True):
    """What the files hold together."""

    tensors: int
    tensor_bytes: int
    claimed_bytes: int | None  # by the index; None: it does not say
    unlisted: tuple[str, ...]  # tensors that lie in a file and are not in the index


def read_index(path: str | os.PathLike[str]) -> Index:
    """The index, checked by itself. Raises BrokenFile with the reason."""
    with opened(path) as (file, size):
        if size > INDEX_MAX_BYTES:
            raise BrokenFile(f"The index is larger than {INDEX_MAX_BYTES >> 20} MiB.")
        return parse_index(file.read(INDEX_MAX_BYTES + 1))


def parse_index(data: bytes) -> Index:
    """The index from its bytes. Raises BrokenFile with the reason."""
    if len(data) > INDEX_MAX_BYTES:
        raise BrokenFile(f"The index is larger than {INDEX_MAX_BYTES >> 20} MiB.")
    stated = strict_json.read(data, "The index", values_max=VALUES_MAX)
    file_of = stated.get("weight_map") if isinstance(stated, dict) else None
    if not isinstance(file_of, dict) or not file_of:
        raise BrokenFile("The index has no weight_map with the file of each tensor.")
    for tensor, name in file_of.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BrokenFile(
                f"The index has no safetensors file of this folder for {shown(tensor)}."
            )
    index = Index(file_of, _claimed(stated.get("metadata")))
    if len(index.files) > SHARDS_MAX:
        raise BrokenFile(f"The index names {len(index.files)} files; {SHARDS_MAX} are taken.")
    return index


def check_shards(index: Index, headers: Mapping[str, Header]) -> Whole:
    """What the files hold, when each tensor lies where the index says and nowhere else.

    Raises BrokenFile with the first that does not.
    """
    missing = [name for name in index.files if name not in headers]
    if missing:
        raise BrokenFile(f"The index names {missing[0]}, which is not there.")
    found: dict[str, str] = {}
    for name in index.files:
        for tensor in headers[name].tensors:
            other = found.setdefault(tensor.name, name)
            if other != name:
                raise BrokenFile(f"tensor {shown(tensor.name)} lies in {other} and in {name}.")
    for tensor_name, name in index.file_of.items():
        if found.get(tensor_name) != name:
            where = f"lies in {found[tensor_name]}" if tensor_name in found else "is in no file"
            raise BrokenFile(f"tensor {shown(tensor_name)} {where}; the index says {name}.")
    held = [tensor for name in index.files for tensor in headers[name].tensors]
    return Whole(
        tensors=len(held),
        tensor_bytes=sum(tensor.size_bytes for tensor in held),
        claimed_bytes=index.claimed_bytes,
        unlisted=tuple(sorted(found.keys() - index.file_of.keys())),
    )


def check_files(path: str | os.PathLike[str]) -> Whole:
    """What an index and the files beside it hold. Raises BrokenFile with the reason."""
    index = read_index(path)
    headers: dict[str, Header] = {}
    tensors = 0
    for name in index.files:
        try:
            header = read_header(Path(path).with_name(name))
        except BrokenFile as cause:
            raise BrokenFile(f"{name}: {cause.message}") from cause
        headers[name] = msgspec.structs.replace(header, metadata={})
        tensors += len(header.tensors)
        if tensors > TENSORS_MAX:
            raise BrokenFile(f"The files hold more than {TENSORS_MAX} tensors.")
    return check_shards(index, headers)


def _claimed(metadata: object) -> int | None:
    value = metadata.get("total_size") if isinstance(metadata, dict) else None
    return value if type(value) is int and value >= 0 else None
