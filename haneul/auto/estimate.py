"""How likely each arm answers well and how many tokens each model writes, from a prompt's vector.

Three levels, each added as far as the data carry it: the arm's mean; a table by task, looked up
with the probabilities of the tasks; a residual, linear in the vector and by cell of its space. What
sets arms apart (the contrast) is shrunk harder than what they have in common (how hard the prompt
is), because only the contrast decides. How far a level is trusted is regressed on predictions for
prompts that its fit had not seen: with few labels it comes out near nought.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

FOLDS = 4
_LEVELS = 5  # mean, table by task, common residual, contrast, cells
_RESIDUALS = [3, 4]  # of those that set arms apart; the table is shrunk by its own prior
_TABLE_ONLY = np.array([1.0, 1.0, 1.0, 0.0, 0.0])
TABLE_PRIOR_LABELS = 20.0  # a task's own mean counts against the arm's as so many labels
COMMON_RIDGE = 300.0
CONTRAST_RIDGE = 3000.0
TOKEN_RIDGE = 300.0
TASK_RIDGE = 1.0
CELLS_MAX, CELL_LABELS, CELL_PRIOR_LABELS = 128, 24, 20.0
CELL_SHARPNESS = 8.0
TOKENS_ADDED = 10.0  # so that the logarithm of an empty answer is finite
TRUST_PRIOR_LABELS = 400.0

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Numbers = NDArray[Any]  # of either width
Integers = NDArray[np.int64]


class Estimate(msgspec.Struct, frozen=True):
    """Arrays that turn vectors (size d) into estimates for K arms and M models over T tasks.

    The columns of `linear`: T weights of tasks, K residuals, M residuals of tokens, C cells.
    """

    linear: Floats  # d x (T + K + M + C)
    table: Floats  # T x K
    cell_values: Floats  # C x K
    token_table: Floats  # T x M: logarithms
    token_scale: Floats  # M: mean tokens over the mean of the estimates


class Prediction(NamedTuple):
    """What n prompts are expected to come to."""

    good: Floats  # n x K, chances of a good answer
    tokens: Floats  # n x M, tokens written
    tasks: Floats  # n x T, chances of each task
    nearest: Floats  # n, how near the nearest cell is: 1 is on it


def predict(estimate: Estimate, vectors: Floats) -> Prediction:
    """What is expected of prompts, one a row."""
    count, arms = estimate.table.shape
    models = len(estimate.token_scale)
    scores = vectors @ estimate.linear
    tasks = _softmax(scores[:, :count])
    near = scores[:, count + arms + models :] / _length(vectors)
    good = tasks @ estimate.table
    good += scores[:, count : count + arms]
    good += _softmax(CELL_SHARPNESS * near) @ estimate.cell_values
    logs = tasks @ estimate.token_table + scores[:, count + arms : count + arms + models]
    tokens = np.maximum(np.exp(logs) - TOKENS_ADDED, 1.0) * estimate.token_scale
    return Prediction(np.minimum(np.maximum(good, 0.0), 1.0), tokens, tasks, near.max(1))


def fit_estimate(
    vectors: Floats,
    tasks: Integers,
    good: Doubles,
    tokens: Doubles,
    *,
    task_count: int,
    worth: Callable[[Doubles, Doubles], Doubles],
    seed: int = 0,
) -> tuple[Estimate, Doubles, Doubles]:
    """The estimate; and what it says of each prompt when fitted without it (good, tokens).

    `worth` says what each prompt is worth if arms are chosen by such chances and tokens: levels
    below the table are taken in as far as that rises by more than its own error.
    """
    folds = np.random.default_rng(seed).permutation(len(good)) % FOLDS
    unseen = np.zeros((len(good), _LEVELS, good.shape[1]))
    unseen_tokens = np.zeros_like(tokens)
    for fold in range(FOLDS):
        kept, left = folds != fold, folds == fold
        levels = _fit_levels(vectors[kept], tasks[kept], good[kept], task_count, seed=seed)
        unseen[left] = _predict_levels(levels, vectors[left])
        words = _fit_tokens(vectors[kept], tasks[kept], tokens[kept], levels.task_weights)
        unseen_tokens[left] = _predict_tokens(words, vectors[left], levels.task_weights)
    trust = _trust(unseen, good)
    trust = _earned(unseen, trust, lambda chances: worth(chances, unseen_tokens))
    levels = _fit_levels(vectors, tasks, good, task_count, seed=seed)
    words = _fit_tokens(vectors, tasks, tokens, levels.task_weights)
    return _folded(levels, words, trust), _blended(unseen, trust), unseen_tokens


def _earned(unseen: Doubles, trust: Doubles, worth: Callable[[Doubles], Doubles]) -> Doubles:
    """The trust with as much of the residuals as makes better choices, beyond chance."""
    chosen: Doubles = trust * _TABLE_ONLY
    value = worth(_blended(unseen, chosen))
    for share in (0.5, 1.0):
        tried = trust * np.where(_TABLE_ONLY > 0, 1.0, share)
        gain = worth(_blended(unseen, tried)) - value
        if gain.mean() > gain.std() / math.sqrt(len(gain)):
            chosen, value = tried, value + gain
    return chosen


def _blended(unseen: Doubles, trust: Doubles) -> Doubles:
    blended: Doubles = np.clip(np.einsum("l,nlk->nk", trust, unseen), 0.0, 1.0)
    return blended


class _Levels(msgspec.Struct, frozen=True):
    mean: Doubles  # K
    task_weights: Floats
    table: Doubles  # T x K: differences to the mean
    common: Doubles  # d x K
    contrast: Doubles  # d x K
    cells: Floats
    cell_values: Doubles


class _Tokens(msgspec.Struct, frozen=True):
    table: Doubles
    residual: Doubles
    scale: Doubles


def _fit_levels(
    vectors: Floats, tasks: Integers, good: Doubles, task_count: int, *, seed: int
) -> _Levels:
    mean = good.mean(0)
    weights = _fit_tasks(vectors, tasks, task_count)
    table = _shrunk(_one_hot(tasks, task_count), good - mean, TABLE_PRIOR_LABELS)
    rest = good - mean - _unseen_tasks(vectors, tasks, task_count, seed=seed) @ table
    common = np.repeat(rest.mean(1, keepdims=True), good.shape[1], axis=1)
    contrast = rest - common
    cells = _fit_cells(vectors, seed=seed)
    belonging = _belonging(vectors, cells)
    return _Levels(
        mean=mean,
        task_weights=weights,
        table=table,
        common=_ridge(vectors, common, COMMON_RIDGE),
        contrast=_ridge(vectors, contrast, CONTRAST_RIDGE),
        cells=cells,
        cell_values=_shrunk(belonging, contrast, CELL_PRIOR_LABELS),
    )


def _predict_levels(levels: _Levels, vectors: Floats) -> Doubles:
    tasks = _softmax(vectors @ levels.task_weights)
    parts = [
        np.broadcast_to(levels.mean, (len(vectors), len(levels.mean))),
        tasks @ levels.table,
        vectors @ levels.common,
        vectors @ levels.contrast,
        _belonging(vectors, levels.cells) @ levels.cell_values,
    ]
    return np.stack(parts, axis=1)


def _trust(unseen: Doubles, good: Doubles) -> Doubles:
    """How much of each residual helps on prompts it had not seen: 0..1, the others fully.

    Least squares on the contrasts between arms, never negative, pulled to nought by a prior of
    `TRUST_PRIOR_LABELS` prompts.
    """
    trust = np.ones(unseen.shape[1])
    rest = good - unseen[:, 0] - unseen[:, 1]
    centred = unseen - unseen.mean(2, keepdims=True)
    target = rest - rest.mean(1, keepdims=True)
    columns = np.stack([centred[:, level].ravel() for level in _RESIDUALS], 1)
    found = _non_negative(columns, target.ravel(), TRUST_PRIOR_LABELS / len(good))
    trust[_RESIDUALS] = np.minimum(found, 1.0)
    return trust


def _non_negative(columns: Doubles, target: Doubles, prior: float) -> Doubles:
    gram, moment = columns.T @ columns, columns.T @ target
    gram = gram + np.diag(np.diag(gram) * prior + 1e-9)
    found = np.zeros(len(moment))
    for _ in range(300):  # coordinate descent; a handful of columns
        for at in range(len(found)):
            step = (moment[at] - gram[at] @ found) / gram[at, at]
            found[at] = max(0.0, found[at] + step)
    return found


def _folded(levels: _Levels, words: _Tokens, trust: Doubles) -> Estimate:
    mean, table, common, contrast, cells = trust
    residual = common * levels.common + contrast * levels.contrast
    parts = (levels.task_weights, residual, words.residual, levels.cells.T)
    return Estimate(
        linear=np.concatenate(parts, axis=1).astype(np.float32),
        table=(mean * levels.mean + table * levels.table).astype(np.float32),
        cell_values=(cells * levels.cell_values).astype(np.float32),
        token_table=words.table.astype(np.float32),
        token_scale=words.scale.astype(np.float32),
    )


def _fit_tokens(vectors: Floats, tasks: Integers, tokens: Doubles, weights: Floats) -> _Tokens:
    logs = np.log(tokens + TOKENS_ADDED)
    mean = logs.mean(0)
    chances = _softmax(vectors @ weights)
    table = mean + _shrunk(_one_hot(tasks, weights.shape[1]), logs - mean, TABLE_PRIOR_LABELS)
    residual = _ridge(vectors, logs - chances @ table, TOKEN_RIDGE)
    guess = np.maximum(np.exp(chances @ table + vectors @ residual) - TOKENS_ADDED, 1.0)
    return _Tokens(table, residual, np.maximum(tokens.mean(0), 1e-9) / guess.mean(0))


def _predict_tokens(words: _Tokens, vectors: Floats, weights: Floats) -> Doubles:
    logs = _softmax(vectors @ weights) @ words.table + vectors @ words.residual
    return np.maximum(np.exp(logs) - TOKENS_ADDED, 1.0) * words.scale


def _fit_tasks(vectors: Floats, tasks: Integers, count: int) -> Floats:
    """Weights of a softmax over tasks: gradient steps under a bound of the curvature."""
    size = vectors.shape[1]
    weights = np.zeros((size, count))
    if count == 1:
        return weights.astype(np.float32)
    ours: Doubles = vectors.astype(np.float64)
    inverse: Numbers = np.linalg.inv(ours.T @ ours * 0.25 + TASK_RIDGE * np.eye(size))
    target, speed = _one_hot(tasks, count), np.zeros_like(weights)
    for _ in range(30):
        step = inverse @ (ours.T @ (target - _softmax(ours @ weights)) - TASK_RIDGE * weights)
        speed = 0.7 * speed + step
        weights += 0.6 * speed
    return weights.astype(np.float32)


def _unseen_tasks(vectors: Floats, tasks: Integers, count: int, *, seed: int) -> Doubles:
    """Chances of each prompt's tasks, from fits without it."""
    folds = np.random.default_rng(seed + 1).permutation(len(tasks)) % 2
    chances = np.zeros((len(tasks), count))
    for fold in range(2):
        kept, left = folds != fold, folds == fold
        chances[left] = _softmax(vectors[left] @ _fit_tasks(vectors[kept], tasks[kept], count))
    return chances


def _fit_cells(vectors: Floats, *, seed: int) -> Floats:
    """Directions of the middles of cells (spherical k-means), each with labels enough."""
    count = max(min(CELLS_MAX, len(vectors) // CELL_LABELS), 1)
    unit = _unit(vectors)
    cells = unit[np.random.default_rng(seed).permutation(len(unit))[:count]]
    for _ in range(8):
        nearest = np.argmax(unit @ cells.T, axis=1)
        sums = np.eye(count, dtype=np.float32)[nearest].T @ unit
        cells = np.where(np.abs(sums).sum(1, keepdims=True) > 0, _unit(sums), cells)
    return cells.astype(np.float32)


def _length(vectors: Floats) -> Floats:
    """Of all but the last number, which is the constant 1."""
    flat = vectors[:, :-1]
    length: Floats = np.sqrt((flat * flat).sum(1, keepdims=True)) + np.float32(1e-6)
    return length


def _unit(vectors: Floats) -> Floats:
    unit = vectors / _length(vectors)
    unit[:, -1] = 0
    return unit


def _belonging(vectors: Floats, cells: Floats) -> Numbers:
    return _softmax(CELL_SHARPNESS * (_unit(vectors) @ cells.T))


def _softmax(scores: Numbers) -> Numbers:
    raised: Numbers = np.exp(scores - scores.max(1, keepdims=True))
    raised /= raised.sum(1, keepdims=True)
    return raised


def _one_hot(tasks: Integers, count: int) -> Doubles:
    return np.eye(count)[tasks]


def _shrunk(weights: Numbers, values: Doubles, prior: float) -> Doubles:
    """Weighted means of the rows' values, shrunk to nought as if `prior` rows said nought."""
    means: Doubles = (weights.T @ values) / (weights.sum(0)[:, None] + prior)
    return means


def _ridge(vectors: Floats, values: Doubles, ridge: float) -> Doubles:
    ours: Doubles = vectors.astype(np.float64)
    found: Numbers = np.linalg.solve(ours.T @ ours + ridge * np.eye(ours.shape[1]), ours.T @ values)
    return found
