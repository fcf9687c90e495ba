"""The small dense vector a policy sees a prompt as: hashed n-grams, weighed and projected.

Fitted once on the prompts of a log: inverse document frequency, then the leading directions of the
weighted counts by a randomised singular value decomposition (Halko, Martinsson and Tropp 2011).
Asked afterwards with one gather of rows and one sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from haneul.auto.features import SHAPE_NAMES, Features, read

BUCKETS = 1 << 16
DIMENSIONS = 64
TERMS_MAX = 8_000  # of words, and of characters
SEEN_MIN = 3  # prompts that hold a term, or it says nothing about others
TOPIC_SCALE, SHAPE_SCALE, SHAPE_MAX = 6.0, 0.5, 4.0
_BLOCK_ROWS = 512
_ROWS_MAX = 4000  # prompts that the directions are found on

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Space(msgspec.Struct, frozen=True):
    """Arrays of a projection: bucket to row (0: unknown), rows of terms, and the shape's scale."""

    row_of: NDArray[np.int32]  # 2 x BUCKETS: words, then characters
    weights: Floats  # rows: inverse document frequency; row 0 is 0
    vectors: Floats  # rows x DIMENSIONS, not yet weighed
    shape_mean: Floats
    shape_scale: Floats

    @property
    def size(self) -> int:
        """How many numbers `embed` returns."""
        return int(self.vectors.shape[1]) + len(SHAPE_NAMES) + 1


class _Counts(msgspec.Struct, frozen=True):
    """A sparse matrix by rows: where each row starts, its columns, its values."""

    starts: Integers
    columns: Integers
    values: Floats
    width: int


def fit_space(prompts: Sequence[str], *, dimensions: int = DIMENSIONS, seed: int = 0) -> Space:
    """The projection that keeps most of what tells these prompts apart."""
    features = [read(prompt, buckets=BUCKETS) for prompt in prompts]
    row_of, weights = _terms(features)
    every = len(features) // _ROWS_MAX + 1
    matrix = _matrix(features[::every], row_of, weights)
    dimensions = min(dimensions, len(prompts) // 2 + 1, max(matrix.width - 1, 1))
    vectors = np.zeros((matrix.width, dimensions), np.float32)
    found = _directions(matrix, dimensions, seed=seed)
    vectors[:, : found.shape[1]] = found
    vectors[0] = 0
    shapes = np.stack([one.shape for one in features])
    return Space(
        row_of=row_of,
        weights=weights,
        vectors=vectors,
        shape_mean=shapes.mean(0),
        shape_scale=np.maximum(shapes.std(0), 1e-3).astype(np.float32),
    )


def embed(space: Space, features: Features) -> tuple[Floats, float]:
    """The vector of one prompt, and how much of it the fit had seen (0..1, by weight of terms)."""
    vector = np.empty(space.size, np.float32)
    rank = space.vectors.shape[1]
    rows, values, known = _terms_of(space.row_of, space.weights, features)
    vector[:rank] = TOPIC_SCALE * (values @ space.vectors.take(rows, axis=0))
    scaled = (features.shape - space.shape_mean) / space.shape_scale
    vector[rank:-1] = SHAPE_SCALE * np.minimum(np.maximum(scaled, -SHAPE_MAX), SHAPE_MAX)
    vector[-1] = 1.0
    return vector, known


def embed_all(space: Space, prompts: Sequence[str]) -> tuple[Floats, Floats]:
    """Vectors of many prompts, one a row, and how much of each the fit had seen."""
    pairs = [embed(space, read(prompt, buckets=BUCKETS)) for prompt in prompts]
    return np.stack([one for one, _ in pairs]), np.array([seen for _, seen in pairs], np.float32)


def _terms_of(
    row_of: NDArray[np.int32], weights: Floats, features: Features
) -> tuple[NDArray[np.int32], Floats, float]:
    """Rows of the terms known of a prompt, weights (each half of length 1/sqrt 2), share known."""
    ordered = features.terms.copy()
    ordered.sort()
    is_first = np.empty(len(ordered), bool)
    is_first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    first = is_first.nonzero()[0]
    rows = row_of[ordered[first]]
    counts = np.empty(len(first), np.float32)
    counts[:-1] = first[1:] - first[:-1]
    counts[-1:] = len(ordered) - first[-1:]
    known = rows.nonzero()[0]
    rows = rows[known]
    values = (1 + np.log(counts[known])) * weights[rows]
    half = int(np.searchsorted(ordered[first[known]], BUCKETS))
    for part in (values[:half], values[half:]):
        part *= math.sqrt(0.5) / math.sqrt(float(part @ part) + 1e-12)
    return rows, values, len(known) / max(len(first), 1)


def _terms(features: Sequence[Features]) -> tuple[NDArray[np.int32], Floats]:
    row_of = np.zeros(2 * BUCKETS, np.int32)
    weights: list[NDArray[np.float64]] = [np.zeros(1)]
    rows = 1
    everywhere = np.zeros(2 * BUCKETS, np.int64)
    for one in features:
        everywhere[np.unique(one.terms)] += 1
    for offset in (0, BUCKETS):
        seen = everywhere[offset : offset + BUCKETS]
        least = SEEN_MIN if len(features) > 10 * SEEN_MIN else 1
        kept = np.flatnonzero(seen >= least)
        kept = kept[np.argsort(-seen[kept], kind="stable")][:TERMS_MAX]
        row_of[offset + kept] = np.arange(rows, rows + len(kept))
        weights.append(np.log((1 + len(features)) / (1 + seen[kept])) + 1)
        rows += len(kept)
    return row_of, np.concatenate(weights).astype(np.float32)


def _matrix(features: Sequence[Features], row_of: NDArray[np.int32], weights: Floats) -> _Counts:
    columns, values, sizes = [], [], []
    for one in features:
        rows, value, _ = _terms_of(row_of, weights, one)
        columns.append(rows.astype(np.int64))
        values.append(value)
        sizes.append(len(rows))
    starts = np.concatenate(([0], np.cumsum(sizes)))
    return _Counts(starts, np.concatenate(columns), np.concatenate(values), len(weights))


def _blocks(matrix: _Counts) -> Iterator[Floats]:
    """The matrix as dense blocks of rows, one after the other in the same memory-bounded size."""
    rows = len(matrix.starts) - 1
    for begin in range(0, rows, _BLOCK_ROWS):
        end = min(begin + _BLOCK_ROWS, rows)
        low, high = matrix.starts[begin], matrix.starts[end]
        dense = np.zeros((end - begin, matrix.width), np.float32)
        owners = np.repeat(np.arange(end - begin), np.diff(matrix.starts[begin : end + 1]))
        dense[owners, matrix.columns[low:high]] = matrix.values[low:high]
        yield dense


def _directions(matrix: _Counts, dimensions: int, *, seed: int) -> Floats:
    """The leading right singular vectors, one a column."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((matrix.width, dimensions + 10)).astype(np.float32)
    for _ in range(3):
        total = np.zeros_like(basis)
        for block in _blocks(matrix):
            total += block.T @ (block @ basis)
        basis, scale = np.linalg.qr(total)
    turned, _, _ = np.linalg.svd(scale)  # R of (A'A)Q = QR turns Q towards the leading ones
    found: Floats = (basis @ turned)[:, :dimensions].astype(np.float32)
    return found
