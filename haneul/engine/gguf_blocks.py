"""The block formats of GGUF weights as arrays of whole numbers, scales and minima.

For kernels that compute with those. Held equal, bit by bit, to the published `gguf` package by a
test. Whoever wants floats, or blocks of floats, asks ggml itself: haneul.engine.derive.ggml.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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


def whole(data: Bytes, kind: str) -> Whole:
    """The whole numbers, scales and minima of blocks. Raises KeyError for kinds without them."""
    return WHOLE[kind](data.reshape(-1, FORMS[kind].block_bytes))


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
