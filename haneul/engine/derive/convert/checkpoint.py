"""The files of a safetensors repository as one set of tensors, read by pieces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile
from haneul.base.safetensors import Tensor, read_header

JSON_MAX_BYTES = 64 << 20  # the largest known tokenizer.json has 34 MB
KINDS = {"F32": "F32", "F16": "F16", "BF16": "BF16"}  # those that mean the same in both formats


class Held(Struct, frozen=True):
    """A tensor and the file it lies in."""

    tensor: Tensor
    file: int


class Checkpoint:
    """An open repository; `close` it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = self.json("config.json")
        paths = sorted(folder.glob("*.safetensors"))
        if not paths:
            raise BrokenFile("The folder holds no safetensors file.")
        self._headers = [read_header(path) for path in paths]
        self.held: dict[str, Held] = {}
        for number, header in enumerate(self._headers):
            for tensor in header.tensors:
                if tensor.name in self.held:
                    raise BrokenFile(f"{tensor.name[:100]} lies in two of the files.")
                self.held[tensor.name] = Held(tensor, number)
        self._check_index()
        self._files: list[BinaryIO] = [path.open("rb") for path in paths]

    def json(self, name: str, *, is_needed: bool = True) -> dict[str, Any]:
        """A JSON file of the repository; {} for one that is not there and need not be."""
        path = self.folder / name
        try:
            if path.stat().st_size > JSON_MAX_BYTES:
                raise BrokenFile(f"{name} is larger than {JSON_MAX_BYTES >> 20} MiB.")
            said = msgspec.json.decode(path.read_bytes())
        except FileNotFoundError as cause:
            if not is_needed:
                return {}
            raise BrokenFile(f"The folder has no {name}.") from cause
        except (OSError, msgspec.MsgspecError) as cause:
            raise BrokenFile(f"{name} cannot be read: {cause}.") from cause
        if not isinstance(said, dict):
            raise BrokenFile(f"{name} is not a table.")
        return said

    def read(self, name: str, start: int, count: int) -> bytes:
        """So many bytes of a tensor, from the start-th on."""
        held = self.held[name]
        file = self._files[held.file]
        file.seek(self._headers[held.file].data_offset + held.tensor.offset + start)
        data = file.read(count)
        if len(data) != count:
            raise BrokenFile("The file was cut while it was read.")
        return data

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _check_index(self) -> None:
        """Raises BrokenFile where the index names tensors that are not there: a part is missing."""
        index = self.json("model.safetensors.index.json", is_needed=False).get("weight_map", {})
        missing = sorted(set(index) - set(self.held)) if isinstance(index, dict) else []
        if missing:
            raise BrokenFile(f"{len(missing)} tensors are missing, {missing[0][:100]} among them.")


def kind_of(tensor: Tensor) -> str:
    """Its format as GGUF calls it. Raises BrokenFile for one that a conversion would round."""
    if tensor.dtype not in KINDS:
        raise BrokenFile(
            f"{tensor.name[:100]} is in {tensor.dtype}: only F32, F16 and BF16 are converted, "
            "which lose nothing."
        )
    return KINDS[tensor.dtype]


def count_of(tensor: Tensor) -> int:
    """How many weights it has."""
    return math.prod(tensor.shape)
