"""The rows of one tensor in another format, a few at a time, however large the model is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from haneul.base.errors import BrokenFile
from haneul.engine.derive.ggml import FORMS, Floats, Ggml
from haneul.engine.derive.gguf_copy import Plan, Source

PART_WEIGHTS = 1 << 22  # worked on at a time: about 50 MB


class Change(Protocol):
    """Something that is added to the weights of tensors on their way."""

    def touches(self, name: str) -> bool: ...

    def rows(self, name: str, expert: int, start: int, count: int) -> Floats:
        """What is added to so many rows of one matrix, from the start-th on."""
        ...


class Turner:
    """Gives the bytes of tensors in the format that their plan says."""

    def __init__(
        self,
        ggml: Ggml,
        source: Source,
        *,
        importance: Mapping[str, Floats] | None = None,
        change: Change | None = None,
    ) -> None:
        self._ggml = ggml
        self._source = source
        self._importance = importance or {}
        self._change = change

    def parts(self, plan: Plan) -> Iterator[bytes]:
        """The tensor in its new format, in parts of whole rows. Raises BrokenFile."""
        tensor = plan.source
        is_changed = self._change is not None and self._change.touches(tensor.name)
        if plan.kind == tensor.type and not is_changed:
            yield from self._as_it_is(plan)
            return
        width, rows = tensor.dims[0], math.prod(tensor.dims[1:2])
        row_bytes = width // FORMS[tensor.type].block_weights * FORMS[tensor.type].block_bytes
        each = max(1, PART_WEIGHTS // width)
        for expert in range(math.prod(tensor.dims[2:])):
            weights = self._importance_of(plan, expert)
            for start in range(0, rows, each):
                count = min(each, rows - start)
                place = (expert * rows + start) * row_bytes
                data = np.frombuffer(
                    self._source.read(plan, place, count * row_bytes), dtype=np.uint8
                )
                floats = self._ggml.floats(data, tensor.type).reshape(count, width)
                if is_changed and self._change is not None:
                    floats = floats + self._change.rows(tensor.name, expert, start, count)
                yield self._ggml.blocks(floats, plan.kind, weights).tobytes()

    def _as_it_is(self, plan: Plan) -> Iterator[bytes]:
        for start in range(0, plan.size_bytes, 4 * PART_WEIGHTS):
            yield self._source.read(plan, start, min(4 * PART_WEIGHTS, plan.size_bytes - start))

    def _importance_of(self, plan: Plan, expert: int) -> Floats | None:
        """The matrix's own numbers, one per column. Raises BrokenFile where they do not fit."""
        found = self._importance.get(plan.source.name)
        if found is None:
            return None
        width, experts = plan.source.dims[0], math.prod(plan.source.dims[2:])
        if found.size == width * experts:
            mine: Floats = found.reshape(experts, width)[expert]
            return mine
        if plan.source.name == "token_embd.weight":
            return None
        raise BrokenFile(f"The importance matrix has {found.size} numbers for {plan.source.name}.")
