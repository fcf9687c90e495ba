"""A stand-in for a model file, from which OpenVINO's reader makes the graph but takes no weights.

The reader (openvino.genai 2026.4, gguf_utils) knows how three architectures are put together and
reads few formats exactly. So it is shown a file with the same names and shapes, all matrices in
Q4_0, whose scales are not weights but marks: of which tensor and of which row they are. What the
reader does with the rows (it turns those of queries and keys) can then be read off the graph, and
the real weights put in their places.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from haneul.base.gguf import Header, Tensor
from haneul.engine.derive.gguf_copy import Plan, head, lay_out, pairs
from haneul.engine.gguf_blocks import FORMS
from haneul.engine.openvino.rotation import FACTORS
from haneul.engine.requantise import said

KIND = "Q4_0"
MARKS = 30_000  # bits of float16 below infinity's, nought left out
PART_ROWS = 1 << 13
Marks = NDArray[np.uint16]


def write_stand_in(source: Path, target: Path, header: Header) -> None:
    """Writes it. Tensors of one dimension are copied, matrices marked."""
    plans = _plans(header)
    places = {tensor.name: place for place, tensor in enumerate(header.tensors)}
    with source.open("rb") as read, target.open("wb") as write:
        added = said(KIND, made_from="marks")
        write.write(head(pairs(read), plans, added=added, alignment=header.alignment))
        for one in plans:
            if one.kind == one.source.type and len(one.source.dims) == 1:
                read.seek(header.data_offset + one.source.offset)
                write.write(read.read(one.size_bytes))
            else:
                _write_marks(write, one.source, places[one.source.name])
            write.write(bytes(-one.size_bytes % header.alignment))


def told(scales: Marks) -> tuple[int, NDArray[np.intp]]:
    """The place of a matrix among the file's tensors, and its rows' numbers (modulo MARKS).

    `scales`: bits of its scales, (rows, groups). A place below nought: these are no marks.
    """
    first, second = scales[:, 0], scales[:, 1]
    if np.any(second != second[0]):
        return -1, first.astype(np.intp)
    return int(second[0]) - 1, first.astype(np.intp) - 1


def _plans(header: Header) -> list[Plan]:
    shown = [tensor for tensor in header.tensors if tensor.name != FACTORS]
    kinds = (KIND if len(tensor.dims) > 1 else tensor.type for tensor in shown)
    triples = ((0, tensor, kind) for tensor, kind in zip(shown, kinds, strict=True))
    return lay_out(triples, header.alignment)


def _write_marks(write: BinaryIO, tensor: Tensor, place: int) -> None:
    form = FORMS[KIND]
    rows = math.prod(tensor.dims[1:])
    for start in range(0, rows, PART_ROWS):
        count = min(PART_ROWS, rows - start)
        data = np.zeros((count, tensor.dims[0] // form.block_weights, form.block_bytes), np.uint8)
        marks = (np.arange(start, start + count) % MARKS + 1).astype(np.uint16)
        data[:, 0, :2] = marks.reshape(-1, 1).view(np.uint8)
        data[:, 1, :2] = np.array([place + 1], np.uint16).view(np.uint8)
        write.write(data.data)
