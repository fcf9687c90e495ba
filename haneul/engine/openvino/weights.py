"""A tensor's weights as nodes of OpenVINO's graph, which mean what the blocks of the file mean.

Four-bit numbers stay four bits; those of five, six and eight become eight. Each group keeps its own
scale and zero point, in float32: OpenVINO holds them so in memory anyway (same speed and memory,
measured), and in float16 the products of K-quants' scales would be rounded. Without a minimum a
weight is exact to the bit; with one it is off by float32's rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from haneul.base.gguf import Header, Tensor
from haneul.engine.gguf_blocks import FORMS, Bytes, Floats, Whole, whole

FOUR_BITS = frozenset({"Q4_0", "Q4_1", "Q4_K"})
PLAIN = {"F16": openvino.Type.f16, "BF16": openvino.Type.bf16, "F32": openvino.Type.f32}
PART_BLOCKS = 1 << 16
Rows = NDArray[np.intp]


def weights(file: Path, header: Header, tensor: Tensor, rows: Rows) -> Any:
    """A node of the matrix in float32, (rows, columns), its rows in that order."""
    data = _blocks(file, header, tensor)
    if tensor.type in PLAIN:
        return _plain(data[rows], tensor)
    numbers, scales, zeros = _quantised(data[rows], tensor)
    node = opset13.convert(_constant(numbers, tensor), openvino.Type.f32)
    if zeros.dtype == np.uint8:
        zero = opset13.convert(_constant(zeros, tensor), openvino.Type.f32)
    else:
        zero = opset13.constant(zeros)
    node = opset13.multiply(opset13.subtract(node, zero), opset13.constant(scales))
    return opset13.reshape(node, np.array([len(rows), tensor.dims[0]], np.int64), False)


def _blocks(file: Path, header: Header, tensor: Tensor) -> Bytes:
    """The tensor's bytes, a row each."""
    return np.memmap(
        file,
        dtype=np.uint8,
        mode="r",
        offset=header.data_offset + tensor.offset,
        shape=(tensor.dims[1], tensor.size_bytes // tensor.dims[1]),
    )


def _plain(data: Bytes, tensor: Tensor) -> Any:
    shape = openvino.Shape([len(data), tensor.dims[0]])
    kind = PLAIN[tensor.type]
    word = np.dtype(np.uint32 if tensor.type == "F32" else np.uint16)
    held = openvino.Tensor(kind, shape)
    held.data.view(word)[:] = np.ascontiguousarray(data).view(word)
    node = opset13.constant(held)
    return node if tensor.type == "F32" else opset13.convert(node, openvino.Type.f32)


def _quantised(data: Bytes, tensor: Tensor) -> tuple[Bytes, Floats, Bytes | Floats]:
    """Whole numbers (of four bits two a byte), scales, zero points: each (rows, groups, …)."""
    flat = data.reshape(-1, FORMS[tensor.type].block_bytes)
    parts = [
        _part(whole(flat[start : start + PART_BLOCKS], tensor.type), tensor.type)
        for start in range(0, len(flat), PART_BLOCKS)
    ]
    numbers, scales, zeros = (np.concatenate(every) for every in zip(*parts, strict=True))
    rows = len(data)
    return (
        numbers.reshape(rows, -1, numbers.shape[-1]),
        scales.reshape(rows, -1, 1),
        zeros.reshape(rows, -1, 1),
    )


def _part(found: Whole, kind: str) -> tuple[Bytes, Floats, Bytes | Floats]:
    numbers, scales = found.numbers, found.scales
    zeros: Bytes | Floats = np.full(scales.shape, found.zero, np.uint8)
    if found.minima is not None:
        numbers = np.where(scales[..., None] == 0, np.uint8(0), numbers)
        scales, zeros = _zero_points(scales, found.minima)
    return (_packed(numbers) if kind in FOUR_BITS else numbers), scales, zeros


def _zero_points(scales: Floats, minima: Floats) -> tuple[Floats, Floats]:
    """scale * number + minimum as scale * (number - zero point).

    A group of one value has the scale nought, which no zero point helps: the value itself becomes
    the scale, the zero point -1, and the numbers are noughts.
    """
    is_even = scales == 0
    found = np.where(is_even, minima, scales)
    points = np.divide(-minima, found, out=np.zeros_like(found), where=found != 0)
    return found, points


def _packed(numbers: Bytes) -> Bytes:
    """Two four-bit numbers a byte, the first in its lower half."""
    return numbers[..., 0::2] | (numbers[..., 1::2] << np.uint8(4))


def _constant(numbers: Any, tensor: Tensor) -> Any:
    """Whole numbers, or their zero points, as a constant of four bits or eight."""
    if tensor.type not in FOUR_BITS:
        return opset13.constant(np.ascontiguousarray(numbers))
    rows, groups, width = numbers.shape
    if width > 1:
        shape, packed = [rows, groups, 2 * width], numbers
    else:
        shape, packed = [rows, groups, 1], _packed(numbers.reshape(-1, 2))
    held = openvino.Tensor(openvino.Type.u4, openvino.Shape(shape))
    held.data.reshape(-1)[:] = packed.reshape(-1)
    return opset13.constant(held)
