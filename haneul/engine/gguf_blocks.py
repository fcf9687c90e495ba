"""The block formats of GGUF weights as arrays: blocks to floats, and floats to blocks.

Every function takes rows of blocks and gives rows of the other kind; rounding is ggml's own
(ggml-quants.c), held equal, bit by bit, to the published `gguf` package by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from haneul.base.gguf_types import TENSOR_TYPES

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

FORMS = {form.name: form for form in TENSOR_TYPES.values()}


class Whole(NamedTuple):
    """Blocks as whole numbers in groups: weight = scale * (number - zero) + minimum."""

    numbers: Bytes  # (blocks, groups, weights of a group)
    scales: Floats  # (blocks, groups)
    zero: int
    minima: Floats | None  # (blocks, groups); None: nought everywhere


def floats(data: Bytes, kind: str) -> Floats:
    """The weights that whole blocks of one kind stand for. Raises KeyError for other kinds."""
    if kind in PLAIN:
        return PLAIN[kind](data.reshape(-1, FORMS[kind].block_bytes)).reshape(-1)
    found = whole(data, kind)
    weights = found.scales[..., None] * (found.numbers.astype(np.float32) - found.zero)
    if found.minima is not None:
        weights += found.minima[..., None]
    return weights.reshape(-1)


def whole(data: Bytes, kind: str) -> Whole:
    """The whole numbers, scales and minima of blocks. Raises KeyError for kinds without them."""
    return WHOLE[kind](data.reshape(-1, FORMS[kind].block_bytes))


def blocks(weights: Floats, kind: str) -> Bytes:
    """Blocks of one kind that come nearest to the weights. Raises KeyError for other kinds."""
    rows = weights.reshape(-1, FORMS[kind].block_weights)
    return np.ascontiguousarray(WRITERS[kind](rows)).view(np.uint8).reshape(-1)


def _half(data: Bytes) -> Floats:
    """Columns of float16, as float32."""
    return np.ascontiguousarray(data).view(np.float16).astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """The low halves of all bytes of a row, then the high ones."""
    return np.concatenate([data & 15, data >> 4], axis=-1)


def _fives(low: Bytes, high: Bytes) -> Bytes:
    """Five-bit numbers: four bits of each in nibbles, the fifth in a word of 32."""
    fifth = np.unpackbits(np.ascontiguousarray(high), axis=-1, bitorder="little")
    return _nibbles(low) | (fifth << np.uint8(4))


def _one_group(numbers: Bytes, rows: Bytes, zero: int) -> Whole:
    return Whole(numbers[:, None, :], _half(rows[:, :2]), zero, None)


def _with_minimum(numbers: Bytes, rows: Bytes) -> Whole:
    return Whole(numbers[:, None, :], _half(rows[:, :2]), 0, _half(rows[:, 2:4]))


def _whole_q8_0(rows: Bytes) -> Whole:
    return _one_group(rows[:, 2:] ^ np.uint8(128), rows, 128)  # two's complement, moved by 128


def _k_scales(packed: Bytes) -> tuple[Floats, Floats]:
    """The eight six-bit scales and minima of a block of Q4_K or Q5_K, from their twelve bytes."""
    first, second, rest = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (rest & 15) | ((first >> 2) & 48)], axis=-1)
    minima = np.concatenate([second & 63, (rest >> 4) | ((second >> 2) & 48)], axis=-1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _k_groups(rows: Bytes, numbers: Bytes) -> Whole:
    """Eight groups of 32 numbers, each with its scale and minimum."""
    scales, minima = _k_scales(rows[:, 4:16])
    return Whole(numbers, _half(rows[:, :2]) * scales, 0, -(_half(rows[:, 2:4]) * minima))


def _whole_q4_k(rows: Bytes) -> Whole:
    pairs = rows[:, 16:].reshape(-1, 4, 1, 32)
    return _k_groups(rows, np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 8, 32))


def _whole_q5_k(rows: Bytes) -> Whole:
    pairs = rows[:, 48:].reshape(-1, 4, 1, 32)
    low = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 8, 32)
    places = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    fifth = (rows[:, 16:48].reshape(-1, 1, 32) >> places) & 1
    return _k_groups(rows, low | (fifth << 4))


def _whole_q6_k(rows: Bytes) -> Whole:
    halves = rows[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([halves & 15, halves >> 4], axis=2).reshape(-1, 8, 32)
    places = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    high = ((rows[:, 128:192].reshape(-1, 2, 1, 32) >> places) & 3).reshape(-1, 8, 32)
    scales = np.ascontiguousarray(rows[:, 192:208]).view(np.int8).astype(np.float32)
    return Whole((low | (high << 4)).reshape(-1, 16, 16), _half(rows[:, 208:]) * scales, 32, None)


def _read_bf16(rows: Bytes) -> Floats:
    words = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32) << 16
    return words.view(np.float32)


def _read_f32(rows: Bytes) -> Floats:
    return np.ascontiguousarray(rows).view(np.float32)


def _inverse(scale: Floats) -> Floats:
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def _write_q4_0(rows: Floats) -> Any:
    at = np.abs(rows).argmax(axis=-1, keepdims=True)
    scale = np.take_along_axis(rows, at, axis=-1) / np.float32(-8)
    # ggml multiplies and adds in one step there; doubles give what that gives
    sums = rows.astype(np.float64) * _inverse(scale).astype(np.float64) + 8.5
    numbers = np.trunc(sums).astype(np.uint8).clip(0, 15)
    packed = numbers[:, :16] | (numbers[:, 16:] << 4)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), packed], axis=-1)


def _write_q8_0(rows: Floats) -> Any:
    scale = np.abs(rows).max(axis=-1, keepdims=True) / np.float32(127)
    scaled = rows * _inverse(scale)
    whole = np.floor(np.abs(scaled))
    # halves are rounded away from zero, as C's roundf does and numpy does not
    numbers = np.sign(scaled) * (whole + np.floor(2 * (np.abs(scaled) - whole)))
    packed = numbers.astype(np.int8).view(np.uint8)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), packed], axis=-1)


PLAIN: dict[str, Callable[[Bytes], Floats]] = {
    "F32": _read_f32,
    "F16": _half,
    "BF16": _read_bf16,
}
WHOLE: dict[str, Callable[[Bytes], Whole]] = {
    "Q4_0": lambda rows: _one_group(_nibbles(rows[:, 2:]), rows, 8),
    "Q4_1": lambda rows: _with_minimum(_nibbles(rows[:, 4:]), rows),
    "Q5_0": lambda rows: _one_group(_fives(rows[:, 6:], rows[:, 2:6]), rows, 16),
    "Q5_1": lambda rows: _with_minimum(_fives(rows[:, 8:], rows[:, 4:8]), rows),
    "Q8_0": _whole_q8_0,
    "Q4_K": _whole_q4_k,
    "Q5_K": _whole_q5_k,
    "Q6_K": _whole_q6_k,
}
READERS = frozenset(PLAIN) | frozenset(WHOLE)
WRITERS: dict[str, Callable[[Floats], Any]] = {
    "F16": lambda rows: rows.astype(np.float16),
    "Q4_0": _write_q4_0,
    "Q8_0": _write_q8_0,
}
