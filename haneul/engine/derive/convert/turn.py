"""A safetensors repository as one GGUF file: `convert(...)`.

Nothing is rounded: matrices keep their format, vectors become F32, which holds them exactly. A
smaller file is a second step, so that what it loses can be measured against this one.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from haneul.base.deriving import Made
from haneul.base.errors import BadRequest, BrokenFile
from haneul.base.gguf import Tensor
from haneul.engine.derive.convert.checkpoint import Checkpoint, count_of, kind_of
from haneul.engine.derive.convert.families import (
    EXPERT,
    LAYER,
    Family,
    family,
    first_row,
    frequencies,
    measures,
    number,
    plain_name,
    turned_heads,
)
from haneul.engine.derive.convert.words import Words, words
from haneul.engine.derive.ggml import FORMS, Bytes, size_bytes
from haneul.engine.derive.gguf_copy import OnTensor, Plan, Value, head, lay_out, pair, write
from haneul.engine.derive.mix import TYPE_NUMBERS
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.vocabulary import Vocabulary

ALIGNMENT = 32
PART_BYTES = 1 << 24
WHOLE = ("position_embd.weight", "token_types.weight")  # kept in F32 by every kernel


class Piece(Struct, frozen=True):
    """Where a tensor's rows come from: names in the repository, one behind another."""

    names: tuple[str, ...]
    heads: int  # whose rows are put in another order; 0: they stay
    numbers: tuple[float, ...] = ()  # or the numbers themselves
    first: int = 0  # row that is taken


def convert(
    folder: Path,
    target: Path,
    *,
    name: str,
    made_from: str,
    scratch: Path,
    on_tensor: OnTensor | None = None,
) -> Made:
    """Writes the file; `target` appears whole or not at all.

    `made_from`: the revision of the repository. `scratch`: a folder for a small file. Raises
    BadRequest for models that are not converted here, and BrokenFile.
    """
    held = Checkpoint(folder)
    try:
        kind = family(held.config)
        pieces, tensors = _pieces(held, kind)
        plans = lay_out(((0, tensor, tensor.type) for tensor in tensors), ALIGNMENT)
        file_type = _file_type(tensors)
        pairs: dict[str, Value] = {
            "general.architecture": kind.architecture,
            "general.type": "model",
            "general.name": name,
            "general.alignment": ALIGNMENT,
            "general.file_type": TYPE_NUMBERS[file_type],
            "haneul.derived_from": made_from,
            "haneul.derived_by": "convert",
            **measures(kind, held.config, _pooling(held)),
        }

        said = words(held, is_encoder=kind.is_bert, reader=_Kernel(pairs, scratch).reader)
        pairs |= said.pairs
        kept = [(key, pair(key, value)) for key, value in pairs.items()]
        start = head(kept, plans, added={}, alignment=ALIGNMENT)

        def parts(plan: Plan) -> Iterator[bytes]:
            return _parts(held, pieces[plan.source.name], plan)

        write(
            target,
            start,
            plans,
            parts,
            alignment=ALIGNMENT,
            on_tensor=on_tensor,
            resumes="convert",
        )
    finally:
        held.close()
    return _told(target, kind, file_type, plans, said)


class _Kernel:
    """Has the kernel read text under a vocabulary that is still being tried."""

    def __init__(self, pairs: dict[str, Value], scratch: Path) -> None:
        self._pairs = pairs
        self._file = scratch / "words.gguf"

    def reader(self, tried: dict[str, Value]) -> _Reading:
        said = {**self._pairs, **tried}
        kept = [(key, pair(key, value)) for key, value in said.items()]
        self._file.write_bytes(head(kept, [], added={}, alignment=ALIGNMENT))
        try:
            vocabulary = Vocabulary.open(open_library(), self._file)
        finally:
            self._file.unlink()
        return _Reading(vocabulary)


class _Reading:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __call__(self, text: str) -> list[int]:
        return self._vocabulary.tokenise(text, with_special=True)

    def __del__(self) -> None:
        self._vocabulary.close()


def _pieces(held: Checkpoint, kind: Family) -> tuple[dict[str, Piece], list[Tensor]]:
    """Every tensor of the file and what it is made of. Raises BadRequest for unknown names."""
    import gguf  # of the extra [convert]

    layers = number(held.config, "num_hidden_layers")
    known = {name: each for each, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(known[kind.architecture], layers)
    pieces: dict[str, Piece] = {}
    experts: dict[str, dict[int, str]] = {}
    for theirs in held.held:
        plain = plain_name(theirs, held.config)
        if not plain:
            continue
        layer = LAYER.search(plain)
        if layer and int(layer[1]) >= layers:
            continue  # a layer for guessing ahead
        if kind.has_experts and (expert := EXPERT.fullmatch(plain)):
            ours = names.get_name(f"{expert[1]}.{expert[3]}", try_suffixes=(".weight", ".bias"))
            experts.setdefault(str(ours), {})[int(expert[2])] = theirs
            continue
        ours = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if ours is None or ours in pieces:
            raise BadRequest(f"{theirs[:100]} has no place in a model of {kind.architecture}.")
        heads = turned_heads(kind, plain, held.config)
        first = first_row(kind, plain, held.config)
        pieces[ours] = Piece((theirs,), heads, first=first)
    for ours, parts in experts.items():
        count = number(held.config, "num_experts")
        if sorted(parts) != list(range(count)):
            raise BrokenFile(f"{ours} has {len(parts)} experts of {count}.")
        pieces[ours] = Piece(tuple(parts[place] for place in range(count)), 0)
    there = {ours.split(".")[1] for ours in pieces if ours.startswith("blk.")}
    if missing := {str(layer) for layer in range(layers)} - there:
        raise BrokenFile(f"The repository has no weights of layer {min(missing, key=int)}.")
    if factors := ([] if kind.is_bert else frequencies(held.config)):
        pieces["rope_freqs.weight"] = Piece((), 0, tuple(factors))
    return pieces, [_tensor(held, name, piece) for name, piece in pieces.items()]


def _tensor(held: Checkpoint, name: str, piece: Piece) -> Tensor:
    if piece.numbers:
        return Tensor(name, (len(piece.numbers),), "F32", 0, 4 * len(piece.numbers))
    first = held.held[piece.names[0]].tensor
    if any(held.held[each].tensor.shape != first.shape for each in piece.names):
        raise BrokenFile(f"{name} has experts of several sizes.")
    if not 0 < len(first.shape) < 4 or 0 in first.shape:
        raise BrokenFile(f"{first.name[:100]} has {len(first.shape)} dimensions.")
    shape = (first.shape[0] - piece.first, *first.shape[1:])
    if shape[0] < 1 or (piece.heads and shape[0] % (2 * piece.heads)):
        raise BrokenFile(f"{first.name[:100]} has {first.shape[0]} rows, which cannot be.")
    dims = (*reversed(shape), *((len(piece.names),) if len(piece.names) > 1 else ()))
    kind = "F32" if len(first.shape) == 1 or name in WHOLE else kind_of(first)
    return Tensor(name, dims, kind, 0, size_bytes(dims, kind))


def _file_type(tensors: list[Tensor]) -> str:
    """The format that most of the matrices have."""
    sizes = dict.fromkeys(("F32", "F16", "BF16"), 0)
    for tensor in tensors:
        sizes[tensor.type] += tensor.size_bytes if len(tensor.dims) > 1 else 0
    return max(sizes, key=lambda kind: sizes[kind])


def _parts(held: Checkpoint, piece: Piece, plan: Plan) -> Iterator[bytes]:
    if piece.numbers:
        yield struct.pack(f"<{len(piece.numbers)}f", *piece.numbers)
        return
    for name in piece.names:
        tensor = held.held[name].tensor
        kind = kind_of(tensor)
        step = tensor.size_bytes // piece.heads if piece.heads else PART_BYTES
        begin = piece.first * (tensor.size_bytes // tensor.shape[0])
        for start in range(begin, tensor.size_bytes, step):
            data = held.read(name, start, min(step, tensor.size_bytes - start))
            if piece.heads:
                data = _paired(data, count_of(tensor) // tensor.shape[0], kind)
            yield _as(data, kind, plan.kind)


def _paired(data: bytes, width: int, kind: str) -> bytes:
    """The rows of one head: the first of each half, then the second of each, and so on."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, width * FORMS[kind].block_bytes)
    if len(rows) % 2:
        raise BrokenFile("A head has an odd number of rows.")
    halves = rows.reshape(2, len(rows) // 2, -1)
    return halves.swapaxes(0, 1).tobytes()


def _as(data: bytes, kind: str, wanted: str) -> bytes:
    if kind == wanted:
        return data
    raw: Bytes = np.frombuffer(data, np.uint8)
    if kind == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).tobytes()
    return raw.view(np.float16).astype(np.float32).tobytes()


def _pooling(held: Checkpoint) -> str:
    """How sentence-transformers' files say that a text's vector is made; "": they do not."""
    path = held.folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return ""
    said = held.json("1_Pooling/config.json")
    modes = [key for key, is_on in said.items() if key.startswith("pooling_mode_") and is_on]
    if len(modes) != 1:
        raise BadRequest("The model pools in several ways at once, which no engine here does.")
    return modes[0].removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")


def _told(target: Path, kind: Family, file_type: str, plans: list[Plan], said: Words) -> Made:
    size = target.stat().st_size
    if size < math.fsum(plan.size_bytes for plan in plans):
        raise BrokenFile("The file became shorter than its tensors.")
    return Made(
        bytes=size,
        architecture=kind.architecture,
        file_type=file_type,
        formats=dict(Counter(plan.kind for plan in plans)),
        cut=said.cut,
        proven_tokens=said.proven,
        unlike=said.unlike,
    )
