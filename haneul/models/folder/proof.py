"""What a revision's weights must be before an engine or a converter may be given them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from haneul.base import gguf, gguf_parts, safetensors
from haneul.base.errors import BrokenFile
from haneul.base.gguf_model import check_model
from haneul.base.safetensors_index import INDEX_MAX_BYTES, check_shards, parse_index
from haneul.models.manifest import Manifest

INDEX = ".safetensors.index.json"


def check_weights(manifest: Manifest, path_of: Callable[[str], Path]) -> None:
    """Reads every header; path_of finds a file by its digest. Raises BrokenFile with the reason."""
    if manifest.format == "gguf":
        _check_gguf(manifest, path_of)
    else:
        _check_safetensors(manifest, path_of)


def _check_gguf(manifest: Manifest, path_of: Callable[[str], Path]) -> None:
    weights = manifest.weights
    if len(weights) == 1:
        gguf.check_file(path_of(weights[0].sha256))
        return
    headers = []
    for file in weights:
        try:
            headers.append(gguf.read_header(path_of(file.sha256)))
        except BrokenFile as cause:
            raise BrokenFile(f"{file.path}: {cause.message}") from cause
    check_model(gguf_parts.joined(headers))


def _check_safetensors(manifest: Manifest, path_of: Callable[[str], Path]) -> None:
    headers = {}
    for file in manifest.weights:
        try:
            headers[file.path] = safetensors.read_header(path_of(file.sha256))
        except BrokenFile as cause:
            raise BrokenFile(f"{file.path}: {cause.message}") from cause
    for file in manifest.files:
        if not file.path.endswith(INDEX):
            continue
        if file.bytes > INDEX_MAX_BYTES:
            raise BrokenFile(f"{file.path} is larger than {INDEX_MAX_BYTES >> 20} MiB.")
        check_shards(parse_index(path_of(file.sha256).read_bytes()), headers)
