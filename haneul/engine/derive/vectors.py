"""What a child lost against its parent where both give vectors: how far these turned."""

from __future__ import annotations

import ctypes as c
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haneul.base.errors import BadRequest
from haneul.engine.derive.texts import Passage
from haneul.engine.libllama.library import Batch, Library
from haneul.engine.libllama.model import Model

Vector = NDArray[np.float64]
TOKENS_MOST = 256


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
