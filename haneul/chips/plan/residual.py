"""What physics leaves over, learnt from rows that are alike: kernel ridge in logarithms.

Two rows are alike by what they share (engine, generation, precision, class of architecture, kind
of measurement) and by how near their lengths and batches are. Far from every row the correction
fades to one and its uncertainty grows to the spread of all rows, so physics alone extrapolates.
Rows far off the rest are given less weight, as Huber does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from haneul.chips.plan.terms import Deployment, Load

Array = NDArray[np.float64]
HUBER = 1.5  # standard deviations from which on a row counts less
ROUNDS = 3  # of reweighting
NAMES = ("kind", "engine", "generation", "precision", "architecture", "chip", "model")
ENGINES = (("trt", "trt"), ("tensorrt", "trt"), ("sglang", "sglang"), ("vllm", "vllm"))


class Traits(Struct, frozen=True, kw_only=True, array_like=True):
    """What a row is compared by."""

    kind: str  # of measurement: max, steady, burst, static, prefill, decode
    engine: str
    generation: str
    precision: str
    architecture: str
    chip: str
    model: str
    isl: float  # logarithms to base 2
    osl: float
    batch: float  # of one chip
    chips: float


class Part(Struct, frozen=True, kw_only=True):
    """One reason for two rows to be off alike: the traits they share, and how far that reaches."""

    shared: tuple[str, ...]
    spread: float  # of the logarithm
    reach: float  # in doublings of lengths and batch; 0: everywhere


class Residual(Struct, frozen=True, kw_only=True):
    """A fitted correction: the rows it knows, their weights, and what is left unexplained."""

    parts: tuple[Part, ...]
    noise: float
    rows: tuple[Traits, ...]
    weights: tuple[float, ...]
    extra: tuple[float, ...]  # noise of each row over the usual: more where it stands apart
    widen: float = 1.0  # what makes an 80 % interval hold 80 % of rows left out


def engine_family(engine: str) -> str:
    """The engine without its version, or "other"."""
    lower = engine.lower()
    return next((name for start, name in ENGINES if lower.startswith(start)), "other")


def kind_of(deployment: Deployment, load: Load) -> str:
    """What kind of measurement a load is like."""
    if deployment.role != "aggregated":
        return deployment.role
    if load.is_static:
        return "static"
    if load.requests is not None:
        return "burst"
    return "max" if load.batch is None and load.tpot_s is None and load.rate is None else "steady"


def traits(deployment: Deployment, load: Load, *, batch: int) -> Traits:
    """What a question is compared by, at the batch it is answered for."""
    return Traits(
        kind=kind_of(deployment, load),
        engine=engine_family(deployment.engine),
        generation=deployment.chip.generation,
        precision=deployment.precision.lower(),
        architecture=deployment.model.kind,
        chip=deployment.chip.id,
        model=deployment.model.name,
        isl=math.log2(max(load.isl * (1 - load.cache_hit), 1)),
        osl=math.log2(max(load.osl, 1)),
        batch=math.log2(max(batch, 1) / deployment.count),
        chips=math.log2(deployment.count),
    )


def columns(rows: tuple[Traits, ...]) -> dict[str, NDArray[Any]]:
    """The traits of rows as columns; names as numbers that are equal where the names are."""
    out: dict[str, NDArray[Any]] = {
        name: np.array([hash(getattr(row, name)) for row in rows], dtype=np.int64) for name in NAMES
    }
    numbers = [[row.isl, row.osl, row.batch, row.chips] for row in rows]
    out["numbers"] = np.array(numbers, dtype=np.float64).reshape(len(rows), 4)
    return out


def kernel(left: tuple[Traits, ...], right: tuple[Traits, ...], parts: tuple[Part, ...]) -> Array:
    """How alike rows are: the covariance of their errors."""
    return alike(columns(left), columns(right), parts)


def alike(
    one: dict[str, NDArray[Any]], two: dict[str, NDArray[Any]], parts: tuple[Part, ...]
) -> Array:
    """The same of columns."""
    apart = ((one["numbers"][:, None, :] - two["numbers"][None, :, :]) ** 2).sum(axis=2)
    total: Array = np.zeros(apart.shape)
    asked = {name for part in parts for name in part.shared}
    same = {name: _same(one[name], two[name]) for name in asked}
    for part in parts:
        value: Array = np.full((1, 1), part.spread**2)
        for name in part.shared:
            value = value * same[name]
        if part.reach:
            value = value * np.exp(-apart / (2 * part.reach**2))
        total += value
    return total


def _same(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.bool_]:
    """Where names are equal; one row stands for all where they are asked of one name alone."""
    is_one = len(one) > 0 and bool((one == one[0]).all())
    found: NDArray[np.bool_] = (one[:1] if is_one else one)[:, None] == two[None, :]
    return found


def solve(covariance: Array, errors: Array, *, noise: float) -> tuple[Array, Array]:
    """Weights of the rows, and how much more noise than usual each is taken to have (Huber)."""
    extra: Array = np.ones(len(errors))
    weights: Array = np.zeros(len(errors))
    for _ in range(ROUNDS):
        whole = covariance + np.diag(noise**2 * extra)
        weights = np.asarray(np.linalg.solve(whole, errors), np.float64)
        left = noise**2 * extra * weights  # what the fit leaves of each row
        extra = np.maximum(1.0, np.abs(left) / (HUBER * noise))
    return weights, extra


def fit(
    rows: tuple[Traits, ...], errors: Array, *, parts: tuple[Part, ...], noise: float
) -> Residual:
    """The correction of errors log(measured / forecast); rows that stand apart count less."""
    weights, extra = solve(kernel(rows, rows, parts), errors, noise=noise)
    return Residual(
        parts=parts,
        noise=noise,
        rows=rows,
        weights=tuple(float(value) for value in weights),
        extra=tuple(float(value) for value in extra),
    )


def deviations(
    across: Array, covariance: Array, extra: Array, *, parts: tuple[Part, ...], noise: float
) -> Array:
    """What stays uncertain of each question, as standard deviations of the logarithm."""
    whole = sum(part.spread**2 for part in parts) + noise**2
    solved = np.linalg.solve(covariance + np.diag(noise**2 * extra), across.T)
    left: Array = np.sqrt(np.maximum(whole - (across * solved.T).sum(axis=1), noise**2))
    return left


class _Block:
    """Rows that may be off alike; no row outside is off as they are."""

    def __init__(self, residual: Residual, rows: list[int]) -> None:
        self._residual = residual
        self._known = columns(tuple(residual.rows[row] for row in rows))
        self._weights = np.array([residual.weights[row] for row in rows])
        self._extra = np.array([residual.extra[row] for row in rows])

    @cached_property
    def _inverse(self) -> Array:
        """Of the rows' covariance: only a deviation needs it, and it costs most of a start."""
        covariance = alike(self._known, self._known, self._residual.parts)
        noise = self._residual.noise**2 * self._extra
        return np.asarray(np.linalg.inv(covariance + np.diag(noise)), np.float64)

    def mean(self, asked: tuple[Traits, ...]) -> Array:
        found: Array = self._across(asked) @ self._weights
        return found

    def explained(self, asked: tuple[Traits, ...]) -> Array:
        """How much of the variance of each these rows take away."""
        across = self._across(asked)
        found: Array = np.einsum("ij,jk,ik->i", across, self._inverse, across)
        return found

    def _across(self, asked: tuple[Traits, ...]) -> Array:
        return alike(columns(asked), self._known, self._residual.parts)


class Corrector:
    """A Residual made ready to be asked many times: (log correction, its standard deviation).

    Where all reasons ask for one trait, such as the kind of measurement, rows that differ in it
    have nothing in common: each kind is a block of its own, and exact.
    """

    def __init__(self, residual: Residual) -> None:
        self._residual = residual
        needed = [set(part.shared) for part in residual.parts]
        self._needed = tuple(sorted(set.intersection(*needed))) if needed else ()
        rows: dict[tuple[str, ...], list[int]] = {}
        for index, row in enumerate(residual.rows):
            rows.setdefault(self._key(row), []).append(index)
        self._blocks = {key: _Block(residual, members) for key, members in rows.items()}

    def __call__(self, asked: tuple[Traits, ...]) -> tuple[Array, Array]:
        residual = self._residual
        whole = sum(part.spread**2 for part in residual.parts) + residual.noise**2
        explained = self._of_blocks(asked, _Block.explained)
        left = np.sqrt(np.maximum(whole - explained, residual.noise**2))
        return self.mean(asked), left * residual.widen

    def mean(self, asked: tuple[Traits, ...]) -> Array:
        """The corrections alone, which is far less work than with their deviations."""
        return self._of_blocks(asked, _Block.mean)

    def _of_blocks(
        self, asked: tuple[Traits, ...], told: Callable[[_Block, tuple[Traits, ...]], Array]
    ) -> Array:
        out: Array = np.zeros(len(asked))
        keys = [self._key(each) for each in asked]
        for key in dict.fromkeys(keys):
            block = self._blocks.get(key)
            if block is not None:
                at = [index for index, each in enumerate(keys) if each == key]
                out[at] = told(block, tuple(asked[index] for index in at))
        return out

    def _key(self, row: Traits) -> tuple[str, ...]:
        return tuple(getattr(row, name) for name in self._needed)
