"""What a child lost against its parent where both give vectors: how far these turned."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haneul.base.deriving import Loss
from haneul.base.errors import BadRequest
from haneul.engine.derive.draws import DRAWS, interval
from haneul.engine.derive.texts import Passage
from haneul.engine.libllama.library import Batch, Library
from haneul.engine.libllama.model import Model

Vector = NDArray[np.float64]
TOKENS_MOST = 256
LINE_LEAST = 20


class Encoder:
    """A model that gives one vector for a text; `close` it."""

    def __init__(self, library: Library, file: Path, *, threads: int = 1) -> None:
        self.model = Model(library, file)
        settings = library.context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = TOKENS_MOST
        settings.n_threads = settings.n_threads_batch = threads
        settings.embeddings = True
        self._handle = library.init_from_model(self.model.handle, settings)
        if not self._handle:
            self.model.close()
            raise BadRequest("The kernel cannot open the model for vectors.")

    def vector(self, tokens: list[int]) -> Vector:
        """The vector of those tokens, of length one."""
        library, count = self.model.library, len(tokens)
        ids, places = np.array(tokens, np.int32), np.arange(count, dtype=np.int32)
        ones, lines = np.ones(count, np.int32), np.zeros(count, np.int32)
        first = lines.ctypes.data
        each = np.arange(first, first + 4 * count, 4, dtype=np.uintp)
        wants = np.ones(count, np.int8)
        arrays = (ids, None, places, ones, each, wants)
        batch = Batch(count, *(None if one is None else one.ctypes.data for one in arrays))
        if library.decode(self._handle, batch):
            raise BadRequest("The kernel cannot make vectors with the model.")
        place = library.get_embeddings_seq(self._handle, 0)
        if not place:
            raise BadRequest("The model gives no vector for a whole text.")
        width = library.model_n_embd(self.model.handle)
        raw = (c.c_float * width).from_address(place)
        vector = np.frombuffer(raw, np.float32).astype(np.float64)
        return vector / np.linalg.norm(vector)

    def read(self, passage: Passage) -> list[int]:
        """The tokens of a passage, as many as are read at once."""
        return self.model.vocabulary.tokenise(passage.text, with_special=True)[:TOKENS_MOST]

    def close(self) -> None:
        if self._handle:
            self.model.library.free(self._handle)
            self._handle = None
        self.model.close()


def measure(
    library: Library,
    parent: Path,
    child: Path,
    texts: Sequence[Passage],
    *,
    suite: str,
    threads: int,
) -> Loss:
    """How far a child's vectors of sentences turned from its parent's. Raises BadRequest."""
    with ExitStack() as stack:
        one = Encoder(library, parent, threads=threads)
        stack.callback(one.close)
        other = Encoder(library, child, threads=threads)
        stack.callback(other.close)
        found: dict[str, list[float]] = {}
        tokens = 0
        for text in sentences(texts):
            said = one.read(text)
            if said != other.read(text):
                raise BadRequest("The two models do not have the same vocabulary: no comparison.")
            cosine = float(one.vector(said) @ other.vector(said))
            found.setdefault(text.language, []).append(min(1.0, max(0.0, cosine)))
            tokens += len(said)
    every = np.concatenate([np.array(group) for group in found.values()])
    draws = np.random.default_rng(0).choice(every, (DRAWS, len(every))).mean(axis=1)
    return Loss(
        suite=suite,
        tokens=tokens,
        languages={name: float(np.mean(group)) for name, group in found.items()},
        cosine=interval(draws, float(every.mean())),
    )


def sentences(texts: Sequence[Passage]) -> list[Passage]:
    """The lines of the passages that hold more than a few letters."""
    return [
        Passage(text.language, line.strip())
        for text in texts
        for line in text.text.splitlines()
        if len(line.strip()) > LINE_LEAST
    ]
