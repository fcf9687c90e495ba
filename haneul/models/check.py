"""Looks at model files where they lie: what they hold, or why nothing here would take them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from haneul.base import gguf_parts, safetensors, safetensors_index
from haneul.base.errors import BrokenFile, NotFound
from haneul.base.gguf import Header

INDEX = ".safetensors" + safetensors_index.SUFFIX


class Checked(Struct, frozen=True, kw_only=True):
    """One model: of one file, or the first of several that belong together."""

    file: str
    format: str
    files: int = 1
    tensors: int | None = None
    tensor_bytes: int | None = None
    says: str = ""  # its architecture, the dtypes of its tensors
    reason: str = ""  # why it is refused; "": it is not


def check(path: Path) -> list[Checked]:
    """The models of a file or folder, each read from its header alone. Raises NotFound."""
    if not path.exists():
        raise NotFound(f"There is nothing at {path}.")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = list(_each(files))
    if not found:
        raise NotFound(f"There is no .gguf and no .safetensors file in {path.name}.")
    return found


def _each(files: list[Path]) -> Iterable[Checked]:
    """What is listed in an index or is a later part counts with the first file."""
    listed: set[str] = set()
    for file in files:
        if file.name.endswith(INDEX):
            whole, names = _index(file)
            listed |= names
            yield whole
    for file in files:
        if file.name.endswith(".safetensors") and file.name not in listed:
            yield _safetensors(file)
        elif file.name.lower().endswith(".gguf"):
            first = gguf_parts.names(file.name)[0]
            if first == file.name or file.with_name(first) not in files:
                yield _gguf(file)


def _gguf(file: Path) -> Checked:
    try:
        header = gguf_parts.check_files(file)
    except BrokenFile as refused:
        return Checked(file=file.name, format="gguf", reason=refused.message)
    return Checked(
        file=file.name,
        format="gguf",
        files=header.parts,
        tensors=len(header.tensors),
        tensor_bytes=sum(tensor.size_bytes for tensor in header.tensors),
        says=_architecture(header),
    )


def _architecture(header: Header) -> str:
    kinds = _most(tensor.type for tensor in header.tensors)
    return f"{header.metadata.get('general.architecture')}, {kinds}"


def _safetensors(file: Path) -> Checked:
    try:
        header = safetensors.read_header(file)
    except BrokenFile as refused:
        return Checked(file=file.name, format="safetensors", reason=refused.message)
    return Checked(
        file=file.name,
        format="safetensors",
        tensors=len(header.tensors),
        tensor_bytes=sum(tensor.size_bytes for tensor in header.tensors),
        says=_most(tensor.dtype for tensor in header.tensors),
    )


def _index(file: Path) -> tuple[Checked, set[str]]:
    """What an index and its shards come to, and the names of the shards."""
    names: set[str] = set()
    try:
        names = set(safetensors_index.read_index(file).files)
        whole = safetensors_index.check_files(file)
    except BrokenFile as refused:
        return Checked(file=file.name, format="safetensors", reason=refused.message), names
    unlisted = f"{len(whole.unlisted)} tensors that the index leaves out" if whole.unlisted else ""
    return Checked(
        file=file.name,
        format="safetensors",
        files=len(names),
        tensors=whole.tensors,
        tensor_bytes=whole.tensor_bytes,
        says=unlisted,
    ), names


def _most(kinds: Iterable[str]) -> str:
    """The kinds, the most frequent first."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return " ".join(sorted(counts, key=lambda kind: (-counts[kind], kind)))
