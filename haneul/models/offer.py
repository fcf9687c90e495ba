"""What a source offers for a wanted model: which bytes, from where, and what it promises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.piece import Piece
from haneul.models.reference import QUANT, Reference

SPLIT = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)
PREFERRED_QUANT = "Q4_K_M"  # what others also take when nothing is said
SHOWN_MAX = 12


class Wanted(Struct, frozen=True, kw_only=True):
    """One way to a model: references whose bytes, joined in order, are the file.

    A pinned hash and size hold whoever serves the bytes; without them the source's own listing is
    the promise.
    """

    parts: tuple[Reference, ...]
    sha256: str = ""
    bytes: int | None = None


class Part(Struct, frozen=True, kw_only=True):
    """A remote piece or a file of this machine; of an archive only the member is taken."""

    piece: Piece | None = None
    path: Path | None = None
    member: str = ""
    bytes: int | None = None  # to be fetched


class Offer(Struct, frozen=True, kw_only=True):
    """A source's answer: what it has, not yet fetched."""

    source: str
    revision: str
    parts: tuple[Part, ...]
    sha256: str = ""  # of the finished file
    bytes: int | None = None  # of the finished file
    licence: str = ""  # as the source says it


class Listed(Struct, frozen=True):
    """A file in a hub's listing."""

    path: str
    bytes: int | None = None
    sha256: str = ""


def choose(files: Sequence[Listed], reference: Reference) -> Listed:
    """The one file that the reference means. Raises BadRequest naming what there is."""
    models = [file for file in files if _is_model(file.path)]
    if not models:
        raise FetchFailed(f"{reference.name} has no GGUF files.")
    found = _matching(models, reference)
    if not found:
        raise BadRequest(
            f"{reference.name} has no such file; it has: {_shown(models)}.", param="model"
        )
    best = min(found, key=lambda file: (len(file.path), file.path))
    split = SPLIT.search(best.path)
    if split:
        raise BadRequest(
            f"{best.path} is split into {int(split[1])} files, which is not supported; "
            f"there are: {_shown(models)}.",
            param="model",
        )
    return best


def _is_model(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.endswith(".gguf") and not name.startswith(("mmproj", "imatrix"))


def _matching(models: Sequence[Listed], reference: Reference) -> list[Listed]:
    if reference.file:
        exact = [file for file in models if file.path == reference.file]
        return exact or [file for file in models if file.path.lower() == reference.file.lower()]
    if reference.quant:
        return _tagged(models, reference.quant)
    return list(models) if len(models) == 1 else _tagged(models, PREFERRED_QUANT)


def _tagged(models: Sequence[Listed], quant: str) -> list[Listed]:
    """Files whose name has the tag between marks: Q4_K does not find Q4_K_M."""
    tag = re.compile(rf"(^|[-./]){re.escape(quant)}([-./])", re.IGNORECASE)
    return [file for file in models if tag.search(file.path)]


def _shown(models: Sequence[Listed]) -> str:
    """Their quantisations where the names tell them, else their names."""
    names = []
    for file in models:
        stem = re.split(r"[-./]", file.path.rpartition("/")[2].upper().removesuffix(".GGUF"))[-1]
        is_tag = QUANT.fullmatch(stem) and re.match(r"(I?Q|TQ|F|BF|MXFP)\d", stem)
        names.append(stem if is_tag else file.path)
    names = sorted(set(names))
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(names[:SHOWN_MAX]) + more
