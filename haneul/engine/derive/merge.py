"""A LoRA adapter added into the weights of its model: `merge(...)`.

Weight + alpha / rank * B A, in float32, a few rows at a time, then the format asked for. Tensors
that the adapter does not touch stay as they are, unless the format asked for has fewer bits. Into
four bits an adapter may vanish: the step from one number to the next is larger than what it adds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from haneul.base.deriving import Made
from haneul.base.errors import BadRequest, BrokenFile
from haneul.base.gguf import Tensor
from haneul.engine.derive.ggml import Floats, Ggml
from haneul.engine.derive.gguf_copy import OnTensor, Plan, Source, Value, head, lay_out, write
from haneul.engine.derive.mix import BITS, TYPE_NUMBERS, about, choose, in_order
from haneul.engine.derive.quantise import ALIGNMENT, check, rounded
from haneul.engine.derive.turn import Turner

EMBEDDING = "token_embd.weight"


class Pair(Struct, frozen=True):
    """The two matrices of one tensor, (experts, rank, in) and (experts, out, rank)."""

    a: Floats
    b: Floats


class Adapter:
    """A LoRA adapter in memory: a few millions of numbers. Implements Change."""

    def __init__(self, path: Path, ggml: Ggml) -> None:
        source = Source([path])
        try:
            metadata = source.header.metadata
            if metadata.get("general.type") != "adapter" or metadata.get("adapter.type") != "lora":
                raise BrokenFile("The file is no LoRA adapter.")
            if "adapter.alora.invocation_tokens" in metadata:
                raise BrokenFile("This adapter works from a certain token on only: not to merge.")
            alpha = metadata.get("adapter.lora.alpha", 0.0)
            self.alpha = float(alpha) if isinstance(alpha, int | float) else 0.0
            self.architecture = metadata.get("general.architecture")
            self.digest = source.digest()
            self.pairs = _pairs(source, ggml)
        finally:
            source.close()

    def touches(self, name: str) -> bool:
        return name in self.pairs

    def rows(self, name: str, expert: int, start: int, count: int) -> Floats:
        pair = self.pairs[name]
        rank = pair.b.shape[2]
        scale = np.float32(self.alpha / rank if self.alpha else 1.0)
        added: Floats = scale * (pair.b[expert, start : start + count] @ pair.a[expert])
        return added

    def check(self, tensors: Sequence[Tensor], architecture: object) -> None:
        """Raises BrokenFile where it is of another model."""
        if self.architecture != architecture:
            raise BrokenFile(f"The adapter is for {self.architecture}, the model {architecture}.")
        sizes = {one.name: one.dims for one in tensors}
        for name, pair in self.pairs.items():
            if name not in sizes:
                raise BrokenFile(f"The adapter changes {name}, which the model does not have.")
            experts, out, _ = pair.b.shape
            dims = sizes[name]
            if dims[:2] != (pair.a.shape[2], out) or math.prod(dims[2:]) != experts:
                raise BrokenFile(f"The adapter's {name} has other measures than the model's.")


def merge(
    sources: Sequence[Path],
    adapter: Path,
    target: Path,
    file_type: str = "Q8_0",
    *,
    made_from: str = "",
    threads: int = 1,
    on_tensor: OnTensor | None = None,
) -> Made:
    """Writes the model with the adapter in it. Raises BadRequest and BrokenFile."""
    source = Source(sources)
    try:
        check(source.header)
        with Ggml(threads=threads) as ggml:
            change = Adapter(adapter, ggml)
            change.check(source.tensors, source.header.metadata["general.architecture"])
            plans = _plans(source, change, file_type)
            added: dict[str, Value] = {
                "general.file_type": TYPE_NUMBERS[file_type],
                "general.quantization_version": 2,
                "general.alignment": ALIGNMENT,
                "haneul.derived_from": made_from or source.digest(),
                "haneul.derived_by": "merge",
                "haneul.merged_adapter": change.digest,
            }
            write(
                target,
                head(source.pairs(), plans, added=added, alignment=ALIGNMENT),
                plans,
                Turner(ggml, source, change=change).parts,
                alignment=ALIGNMENT,
                on_tensor=on_tensor,
                resumes="merge",
            )
    finally:
        source.close()
    return Made(
        bytes=target.stat().st_size,
        formats=dict(Counter(plan.kind for plan in plans)),
        lossy_parent=rounded(source.tensors),
        architecture=str(source.header.metadata["general.architecture"]),
        file_type=file_type,
    )


def _plans(source: Source, change: Adapter, file_type: str) -> list[Plan]:
    model = about(source.header, source.tensors, is_weighed=False)
    wished = choose(model, source.tensors, file_type)
    places = source.places()
    plans = []
    for tensor in in_order(source.tensors):
        kind = wished[tensor.name]
        if not change.touches(tensor.name) and BITS[kind] >= BITS[tensor.type]:
            kind = tensor.type
        plans.append((places[tensor.name], tensor, kind))
    return lay_out(plans, ALIGNMENT)


def _pairs(source: Source, ggml: Ggml) -> dict[str, Pair]:
    found: dict[str, dict[str, Floats]] = {}
    for plan in lay_out(((0, one, one.type) for one in source.tensors), ALIGNMENT):
        name, _, end = plan.source.name.rpartition(".lora_")
        if end not in ("a", "b") or not name:
            raise BrokenFile(f"The adapter holds {plan.source.name}, which is no part of a LoRA.")
        data = np.frombuffer(source.read(plan, 0, plan.size_bytes), np.uint8)
        dims = (*plan.source.dims, 1, 1)[:3]
        numbers = ggml.floats(data, plan.source.type).reshape(dims[2], dims[1], dims[0])
        found.setdefault(name, {})[end] = numbers
    pairs = {}
    for name, both in found.items():
        if set(both) != {"a", "b"}:
            raise BrokenFile(f"The adapter has only one half of {name}.")
        a, b = both["a"], both["b"]
        if name == EMBEDDING:  # the one that is looked up by rows and not multiplied with
            a, b = b.transpose(0, 2, 1), a
        if a.shape[0] != b.shape[0] or a.shape[1] != b.shape[2]:
            raise BrokenFile(f"The two halves of {name} do not fit each other.")
        pairs[name] = Pair(a, b)
    if not pairs:
        raise BadRequest("The adapter changes nothing.")
    return pairs
