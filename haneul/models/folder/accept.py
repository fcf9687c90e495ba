"""Files that somebody puts here, held to what a pull is held to before they become a revision.

Weights are proven header by header and against each other, pickles and code are refused by name,
and a configuration loses what would make a loader import code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from haneul.base import gguf, gguf_parts, safetensors
from haneul.base.errors import BadRequest, BrokenFile, FetchFailed
from haneul.base.gguf_model import check_model
from haneul.base.safetensors_index import INDEX_MAX_BYTES, check_shards, parse_index
from haneul.models.manifest import File, Format, Manifest, manifest
from haneul.models.revisions import Facts
from haneul.models.shapes.gguf_shape import shape_of
from haneul.models.sources.choice import CODE, FOLDERS, INDEX, KEPT, PAPERS, PICKLES
from haneul.models.sources.code_hooks import without_code

CONFIG_MAX_BYTES = 8 << 20
CARD_MAX_BYTES = 1 << 20
LICENCE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]{1,64})", re.M)
IGNORED = (".gitattributes", ".gitignore")  # of git, which there is none of here
PathOf = Callable[[str], Path]  # of a digest
Keep = Callable[[bytes], File]  # takes a file's new content; gives it back, called nothing


class Accepted(Struct, frozen=True, kw_only=True):
    """Files that may become a revision, and what was read of them."""

    manifest: Manifest
    digest: str  # as the ledger names the weights
    licence: str | None
    facts: Facts


def check_name(path: str) -> None:
    """Raises BadRequest for a file that no revision may hold, with the reason."""
    name = path.lower()
    if name.endswith(PICKLES):
        raise BadRequest(f"{path} is a pickle, which can run code when it is read.", param="path")
    if name.endswith(CODE):
        raise BadRequest(f"{path} is code, which is not kept with a model.", param="path")
    last = path.rpartition("/")[2]
    is_known = name.endswith((".gguf", ".safetensors", *KEPT)) or PAPERS.fullmatch(last.lower())
    if not is_known or ("/" in path and not FOLDERS.fullmatch(path)):
        raise BadRequest(
            f"{path} is no file of a model: there are weights (.gguf, .safetensors), what "
            f"describes them ({', '.join(KEPT)}) and papers (README, LICENSE).",
            param="path",
        )


def accept(files: Iterable[File], path_of: PathOf, keep: Keep) -> Accepted:
    """The revision that the files make. Raises BadRequest, BrokenFile with what keeps them out."""
    there = {file.path: file for file in files}
    for path in there:
        check_name(path)
    for path, file in there.items():
        if path.endswith("config.json"):
            there[path] = _cleaned(file, path_of, keep)
    ggufs = sorted(path for path in there if path.lower().endswith(".gguf"))
    tensors = sorted(path for path in there if path.endswith(".safetensors"))
    if ggufs and tensors:
        raise BadRequest("A revision holds GGUF or safetensors, not both.", param="path")
    if not ggufs and not tensors:
        raise BadRequest(
            "A revision holds weights: put a .gguf or .safetensors file with it, or before it.",
            param="path",
        )
    if ggufs:
        return _gguf(there, ggufs, path_of)
    return _safetensors(there, tensors, path_of)


def _gguf(there: Mapping[str, File], weights: list[str], path_of: PathOf) -> Accepted:
    parts = gguf_parts.names(weights[0])
    if sorted(parts) != weights:
        raise BadRequest(
            f"A revision holds one model, whole: {', '.join(weights[:4])} are not one. Put each "
            "quantisation under a name of its own.",
            param="path",
        )
    headers = []
    for path in parts:
        try:
            headers.append(gguf.read_header(path_of(there[path].sha256)))
        except BrokenFile as cause:
            raise BrokenFile(f"{path}: {cause.message}") from cause
    header = gguf_parts.joined(headers) if len(headers) > 1 else headers[0]
    check_model(header)
    said = header.metadata.get("general.license")
    made = manifest("gguf", there.values())
    return Accepted(
        manifest=made,
        digest=there[parts[0]].sha256 if len(parts) == 1 else made.revision,
        licence=_licence(there, path_of) or (said if isinstance(said, str) and said else None),
        facts=Facts(shape=shape_of(header)),
    )


def _safetensors(there: Mapping[str, File], weights: list[str], path_of: PathOf) -> Accepted:
    headers = {}
    for path in weights:
        try:
            headers[path] = safetensors.read_header(path_of(there[path].sha256))
        except BrokenFile as cause:
            raise BrokenFile(f"{path}: {cause.message}") from cause
    for path in there:
        if path.endswith(INDEX):
            data = _read(there[path], path_of, INDEX_MAX_BYTES)
            check_shards(parse_index(data), headers)
    is_adapter = "adapter_config.json" in there and not any(
        path.startswith("model") for path in weights
    )
    format: Format = "adapter" if is_adapter else "safetensors"
    made = manifest(format, there.values())
    return Accepted(
        manifest=made,
        digest=there[weights[0]].sha256 if len(weights) == 1 else made.revision,
        licence=_licence(there, path_of),
        facts=Facts(),
    )


def _cleaned(file: File, path_of: PathOf, keep: Keep) -> File:
    """The configuration as it is kept: without what would import code."""
    data = _read(file, path_of, CONFIG_MAX_BYTES)
    try:
        clean, _ = without_code(data, file.path)
    except FetchFailed as cause:
        raise BadRequest(cause.message, param="path") from cause
    if clean == data:
        return file
    kept = keep(clean)
    return File(path=file.path, sha256=kept.sha256, bytes=kept.bytes)


def _licence(there: Mapping[str, File], path_of: PathOf) -> str | None:
    """What the head of the card says."""
    card = there.get("README.md")
    if card is None or card.bytes > CARD_MAX_BYTES:
        return None
    text = _read(card, path_of, CARD_MAX_BYTES).decode(errors="replace")
    if not text.startswith("---"):
        return None
    found = LICENCE.search(text[3:].partition("\n---")[0])
    return found[1] if found else None


def _read(file: File, path_of: PathOf, most_bytes: int) -> bytes:
    if file.bytes > most_bytes:
        raise BadRequest(f"{file.path} is larger than {most_bytes} bytes.", param="path")
    return path_of(file.sha256).read_bytes()
