"""What physics leaves over, learnt from rows that are alike: kernel ridge in logarithms.

Two rows are alike by what they share (engine, generation, precision, class of architecture, kind
of measurement) and by how near their lengths and batches are. Far from every row the correction
fades to one and its uncertainty grows to the spread of all rows, so physics alone extrapolates.
Rows far off the rest are given less weight, as Huber does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from haneul.chips.plan.terms import Deployment, Load

Array = NDArray[np.float64]
HUBER = 1.5  # standard deviations from which on a row counts less
ROUNDS = 4  # of reweighting
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
    inverse: tuple[tuple[float, ...], ...] = ()  # of the kernel matrix; what an interval needs
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


def _columns(rows: tuple[Traits, ...]) -> dict[str, NDArray[Any]]:
    names = ("kind", "engine", "generation", "precision", "architecture", "chip", "model")
    columns: dict[str, NDArray[Any]] = {
        name: np.array([getattr(row, name) for row in rows]) for name in names
    }
    numbers = [[row.isl, row.osl, row.batch, row.chips] for row in rows]
    columns["numbers"] = np.array(numbers, dtype=np.float64).reshape(len(rows), 4)
    return columns


def kernel(left: tuple[Traits, ...], right: tuple[Traits, ...], parts: tuple[Part, ...]) -> Array:
    """How alike rows are: the covariance of their errors."""
    one, two = _columns(left), _columns(right)
    apart = ((one["numbers"][:, None, :] - two["numbers"][None, :, :]) ** 2).sum(axis=2)
    total = np.zeros((len(left), len(right)))
    same = {name: one[name][:, None] == two[name][None, :] for name in one if name != "numbers"}
    for part in parts:
        value = part.spread**2 * np.ones_like(total)
        for name in part.shared:
            value *= same[name]
        if part.reach:
            value *= np.exp(-apart / (2 * part.reach**2))
        total += value
    return total


def fit(
    rows: tuple[Traits, ...], errors: Array, *, parts: tuple[Part, ...], noise: float
) -> Residual:
    """The correction of errors log(measured / forecast); rows that stand apart count less."""
    covariance = kernel(rows, rows, parts)
    extra: Array = np.ones(len(rows))
    inverse: Array = np.eye(len(rows))
    for _ in range(ROUNDS):
        inverse = np.asarray(np.linalg.inv(covariance + np.diag(noise**2 * extra)), np.float64)
        left: Array = noise**2 * extra * (inverse @ errors)  # what the fit leaves of each row
        extra = np.maximum(1.0, np.abs(left) / (HUBER * noise))
    weights = inverse @ errors
    return Residual(
        parts=parts,
        noise=noise,
        rows=rows,
        weights=tuple(float(value) for value in weights),
        inverse=tuple(tuple(float(value) for value in line) for line in inverse),
    )


class Corrector:
    """A Residual made ready to be asked many times: (log correction, its standard deviation)."""

    def __init__(self, residual: Residual) -> None:
        self._residual = residual
        self._weights = np.array(residual.weights)
        self._inverse = np.array(residual.inverse)

    def __call__(self, asked: tuple[Traits, ...]) -> tuple[Array, Array]:
        residual = self._residual
        across = kernel(asked, residual.rows, residual.parts)
        whole = sum(part.spread**2 for part in residual.parts) + residual.noise**2
        explained = np.einsum("ij,jk,ik->i", across, self._inverse, across)
        deviation = np.sqrt(np.maximum(whole - explained, residual.noise**2))
        return across @ self._weights, deviation * residual.widen
