"""What a child lost against its parent, read off both on the same text: `measure(...)`.

At every place of the text stands the next-token distribution of each. Their divergence sees a
change long before answers differ; perplexity says whether it hurts. Windows of text are drawn again
with replacement within each language for the intervals: tokens of one window are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from haneul.base.deriving import Loss
from haneul.base.errors import BadRequest
from haneul.base.gguf import read_header
from haneul.engine.derive import vectors
from haneul.engine.derive.draws import DRAWS, interval
from haneul.engine.derive.texts import Passage, passages
from haneul.engine.libllama.context import Context, Shape
from haneul.engine.libllama.library import Library, open_library
from haneul.engine.libllama.model import Model

WINDOW_TOKENS = 256
ROWS = 32  # places at a time, so that a vocabulary of 250,000 takes some tens of megabytes
Sums = NDArray[np.float64]
Logits = NDArray[np.float32]
OnWindow = Callable[[int, int], None]


class _Window(Struct, frozen=True):
    language: str
    tokens: list[int]


class _Read(Struct, frozen=True):
    """Sums of a window: places, parent's and child's surprise, divergence, same first choice."""

    language: str
    sums: Sums
    divergences: NDArray[np.float64]


def measure(
    parent: Path,
    child: Path,
    *,
    adapter: Path | None = None,
    library: Path | None = None,
    threads: int = 1,
    on_window: OnWindow | None = None,
) -> Loss:
    """Reads both models on the text. `adapter`: one that the child answers under.

    Raises BadRequest for models of different vocabularies, BrokenFile, and CannotServe.
    """
    suite, texts = passages()
    opened = open_library(library)
    if is_encoder(parent) != is_encoder(child):
        raise BadRequest("One of the two models writes text, the other makes vectors.")
    if is_encoder(parent):
        return vectors.measure(opened, parent, child, texts, suite=suite, threads=threads)
    with ExitStack() as stack:
        one = _Reader(opened, parent, threads=threads)
        stack.callback(one.close)
        other = _Reader(opened, child, threads=threads, adapter=adapter)
        stack.callback(other.close)
        windows = _windows(one, other, texts)
        read = []
        for number, window in enumerate(windows, 1):
            read.append(_compare(one, other, window))
            if on_window is not None:
                on_window(number, len(windows))
    return summed(read, suite)


def is_encoder(file: Path) -> bool:
    """Whether the model makes vectors and no text: its tokens see those after them."""
    metadata = read_header(file).metadata
    return metadata.get(f"{metadata.get('general.architecture')}.attention.causal") is False


class _Reader:
    """One model and a context of one window."""

    def __init__(
        self, library: Library, file: Path, *, threads: int, adapter: Path | None = None
    ) -> None:
        self.model = Model(library, file)
        try:
            if library.model_has_encoder(self.model.handle) or self.model.vocabulary.size <= 0:
                raise BadRequest("Models with an encoder of their own cannot be compared yet.")
            shape = Shape(
                cells=WINDOW_TOKENS,
                lines=1,
                has_rooms=False,
                batch_tokens=WINDOW_TOKENS,
                rows=WINDOW_TOKENS,
                threads=threads,
                batch_threads=threads,
            )
            self.context = Context(self.model, shape)
            if adapter is not None:
                self.context.use_adapter("measured", self.model.adapter("measured", adapter))
        except BaseException:
            self.model.close()
            raise

    def close(self) -> None:
        self.context.close()
        self.model.close()


def _windows(one: _Reader, other: _Reader, texts: Sequence[Passage]) -> list[_Window]:
    """The text in tokens. Raises BadRequest where the two do not read the same."""
    mine, theirs = one.model.vocabulary, other.model.vocabulary
    windows = []
    for text in texts:
        said = mine.tokenise(text.text, with_special=True)
        if said != theirs.tokenise(text.text, with_special=True) or mine.size != theirs.size:
            raise BadRequest("The two models do not have the same vocabulary: no comparison.")
        for start in range(0, len(said), WINDOW_TOKENS):
            tokens = said[start : start + WINDOW_TOKENS]
            if len(tokens) > WINDOW_TOKENS // 8:
                windows.append(_Window(text.language, tokens))
    return windows


def _compare(one: _Reader, other: _Reader, window: _Window) -> _Read:
    parent, child = (reader.context.read(window.tokens) for reader in (one, other))
    targets = np.array(window.tokens[1:])
    found = []
    for start in range(0, len(targets), ROWS):
        wanted = targets[start : start + ROWS]
        end = start + len(wanted)
        found.append(_places(parent[start:end], child[start:end], wanted))
    places = np.concatenate(found, axis=1)
    sums = np.array([len(targets), *places.sum(axis=1)], np.float64)
    return _Read(window.language, sums, places[2])


def _places(parent: Logits, child: Logits, wanted: NDArray[np.int64]) -> Sums:
    """At each place: parent's and child's surprise, divergence in nats, same first choice."""
    rows = np.arange(len(wanted))
    weights = np.exp(parent - parent.max(axis=1, keepdims=True))
    total = weights.sum(axis=1, dtype=np.float64)
    most = child.max(axis=1)
    # with the sums taken out, the divergence is what parent and child differ by, weighed
    mine = parent.max(axis=1) + np.log(total)
    theirs = most + np.log(np.exp(child - most[:, None]).sum(axis=1, dtype=np.float64))
    apart = np.einsum("ij,ij->i", weights, parent - child, dtype=np.float64) / total
    kl = np.maximum(apart - mine + theirs, 0.0)
    surprises = mine - parent[rows, wanted], theirs - child[rows, wanted]
    same = parent.argmax(axis=1) == child.argmax(axis=1)
    return np.stack([*surprises, kl, same.astype(np.float64)])


def summed(read: Sequence[_Read], suite: str) -> Loss:
    """The windows together, with intervals from drawing them again."""
    languages = sorted({each.language for each in read})
    groups = {name: np.stack([r.sums for r in read if r.language == name]) for name in languages}
    random = np.random.default_rng(0)
    drawn = np.zeros((DRAWS, 5))
    for group in groups.values():
        picks = random.integers(0, len(group), (DRAWS, len(group)))
        drawn += group[picks].sum(axis=1)
    whole = np.sum([each.sums for each in read], axis=0)
    divergences = np.concatenate([each.divergences for each in read])
    return Loss(
        ratio=interval(_ratio(drawn), float(_ratio(whole))),
        kl_nats=interval(drawn[:, 3] / drawn[:, 0], float(whole[3] / whole[0])),
        agreement=interval(drawn[:, 4] / drawn[:, 0], float(whole[4] / whole[0])),
        parent_perplexity=float(np.exp(whole[1] / whole[0])),
        tokens=int(whole[0]),
        kl_99_nats=float(np.quantile(divergences, 0.99)),
        languages={name: float(_ratio(group.sum(axis=0))) for name, group in groups.items()},
        suite=suite,
    )


def _ratio(sums: Sums) -> Sums:
    ratio: Sums = np.exp((sums[..., 2] - sums[..., 1]) / sums[..., 0])
    return ratio
