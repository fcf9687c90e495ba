"""One llama_context: the memory of sequences, and the steps that are computed over it."""

from __future__ import annotations

import ctypes as c
import math
import time
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from haneul.engine.libllama.library import Batch
from haneul.engine.libllama.model import Model
from haneul.engine.libllama.pool import Line
from haneul.engine.libllama.tasks import Part
from haneul.engine.worker.stepper import CannotServe

CACHE_TYPES = {"f16": 1, "q8_0": 8}  # ggml_type
STATE_BYTES_MOST = 64 << 20  # a copy through a buffer of ours; larger ones inside the library
PROBE_TOKENS, PROBES = 48, 3
PROBE_S = 2.0  # after so long two probes must do
Rows = NDArray[np.float32]


class Shape(Struct, frozen=True, kw_only=True):
    """How large a context is and how it computes."""

    cells: int  # in all
    lines: int
    has_rooms: bool  # each line has cells of its own, as many; else all share all
    batch_tokens: int
    rows: int  # of logits that one step may ask for
    threads: int
    batch_threads: int
    flash: bool = True
    cache_type: str = "f16"


class Context:
    """Implements the scheduler's Memory; `close` frees it. One thread uses it."""

    def __init__(self, model: Model, shape: Shape, *, watch: Any = None) -> None:
        """`watch`: a ggml_backend_sched_eval_callback that is shown each step of computing."""
        self._model = model
        self._shape = shape
        self._library = library = model.library
        settings = library.context_default_params()
        settings.n_ctx = shape.cells
        settings.n_batch = settings.n_ubatch = shape.batch_tokens
        settings.n_seq_max = shape.lines
        settings.n_outputs_max = max(shape.rows, shape.lines)  # the library wants no fewer
        settings.kv_unified = not shape.has_rooms
        settings.swa_full = True  # a window that slides would forget what others could use
        settings.n_threads, settings.n_threads_batch = shape.threads, shape.batch_threads
        settings.flash_attn_type = int(shape.flash)
        settings.type_k = settings.type_v = CACHE_TYPES[shape.cache_type]
        if watch is not None:
            settings.cb_eval = c.cast(watch, c.c_void_p).value
        self._handle = library.init_from_model(model.handle, settings)
        if not self._handle:
            raise CannotServe(f"The kernel cannot open the model: {library.reason(model.file)}")
        got = library.n_seq_max(self._handle), library.n_ctx(self._handle)
        if got[0] != shape.lines or got[1] < shape.cells:
            raise CannotServe("The library took other settings than it was given.")
        self._memory = library.get_memory(self._handle)
        self._adapter = ""
        self._rows = _Rows(shape.batch_tokens)

    # the scheduler's Memory
    def copy(self, source: Line, target: Line, length: int) -> None:
        self._copy(source.number, target.number, length)

    def swap(self, line: Line, number: int) -> None:
        held = [self._saved(line.number), self._saved(number)]
        for target, saved in zip((number, line.number), held, strict=True):
            self._cut(target, 0)
            self._restore(saved, target)

    def cut(self, line: Line, length: int) -> None:
        self._cut(line.number, length)

    # steps
    def compute(self, parts: list[Part]) -> Rows:
        """Computes one step; gives a row of logits for each that was asked for, in order.

        The rows are the library's own memory, good until the next step.
        """
        rows = self._rows
        rows.clear()
        for part in parts:
            assert part.task.line is not None
            rows.add(part.tokens, part.position, part.task.line.number, part.rows)
        return self._decode()

    def read(self, tokens: list[int]) -> Rows:
        """A row of logits for each token of a text that stands alone, good until the next step."""
        self._cut(0, 0)
        self._rows.clear()
        self._rows.add(tokens, 0, 0, len(tokens))
        return self._decode()

    def use_threads(self, most: int) -> None:
        """What follows is computed by no more threads than that."""
        threads, batch_threads = self._shape.threads, self._shape.batch_threads
        self._library.set_n_threads(self._handle, min(threads, most), min(batch_threads, most))

    def use_adapter(self, name: str, handle: Any) -> None:
        """What follows is computed under this LoRA adapter; an empty name: under none."""
        if name == self._adapter:
            return
        handles = (c.c_void_p * 1)(handle)
        scales = (c.c_float * 1)(1.0)
        count = 1 if name else 0
        if self._library.set_adapters_lora(self._handle, handles, count, scales):
            raise RuntimeError("the adapter was refused")
        self._adapter = name

    def probe(self) -> tuple[float, float]:
        """Proves that sequences can take over each other's memory and be cut.

        Gives the fixed part of a step and the part per token, in seconds. Raises CannotServe.
        """
        vocabulary = self._model.vocabulary.size
        tokens = [token % vocabulary for token in range(3, 3 + PROBE_TOKENS)]
        reading_s = writing_s = math.inf
        started = time.perf_counter()
        for number in range(PROBES):  # the first also brings the weights into memory
            if number > 1 and time.perf_counter() - started > PROBE_S:
                break
            self._cut(0, 0)
            began = time.perf_counter()
            alone = self._step(tokens, 0, 0)
            reading_s = min(reading_s, time.perf_counter() - began)
            began = time.perf_counter()
            self._step(tokens[:1], PROBE_TOKENS, 0)
            writing_s = min(writing_s, time.perf_counter() - began)
        last = PROBE_TOKENS - 1
        self._cut(0, last)
        line = 0
        if self._lines > 1:
            line = 1
            self._copy(0, 1, last)
        shared = self._step(tokens[-1:], last, line)
        length = self._library.memory_seq_pos_max(self._memory, line) + 1
        for used in {0, line}:
            self._cut(used, 0)
        spread = float(alone.max() - alone.min())
        if not float(abs(alone - shared).max()) <= 0.05 * spread or length != PROBE_TOKENS:
            raise CannotServe("The model's memory cannot be shared between sequences.")
        token_s = max(reading_s - writing_s, 0.1 * reading_s) / (PROBE_TOKENS - 1)
        return max(writing_s - token_s, 0.1 * writing_s), token_s

    def close(self) -> None:
        if self._handle:
            self._library.free(self._handle)
            self._handle = None

    @property
    def _lines(self) -> int:
        return int(self._library.n_seq_max(self._handle))

    def _copy(self, source: int, target: int, length: int) -> None:
        library = self._library
        if not self._shape.has_rooms:
            library.memory_seq_cp(self._memory, source, target, 0, length)
            return
        size = library.state_seq_get_size(self._handle, source)
        if size > STATE_BYTES_MOST:  # a whole room at once, at the next step
            library.memory_seq_cp(self._memory, source, target, -1, -1)
        else:
            self._restore(self._saved(source), target)
        self._cut(target, length)

    def _saved(self, line: int) -> Any:
        """What a sequence remembers, as the library writes it down; None: nothing."""
        if self._library.memory_seq_pos_max(self._memory, line) < 0:
            return None
        size = self._library.state_seq_get_size(self._handle, line)
        buffer = (c.c_uint8 * size)()
        if self._library.state_seq_get_data(self._handle, buffer, size, line) != size:
            raise RuntimeError("the library refused to copy a sequence")
        return buffer

    def _restore(self, saved: Any, line: int) -> None:
        if saved is None:
            return
        if not self._library.state_seq_set_data(self._handle, saved, len(saved), line):
            raise RuntimeError("the library refused to copy a sequence")

    def _cut(self, line: int, length: int) -> None:
        if not self._library.memory_seq_rm(self._memory, line, length, -1):
            raise RuntimeError("the model's memory cannot be cut")

    def _step(self, tokens: list[int], position: int, line: int) -> Rows:
        self._rows.clear()
        self._rows.add(tokens, position, line, 1)
        row: Rows = self._decode()[0].copy()
        return row

    def _decode(self) -> Rows:
        code = self._library.decode(self._handle, self._rows.batch())
        if code:
            raise RuntimeError(f"llama_decode gave {code}")
        count, size = self._rows.wanted, self._model.vocabulary.size
        if not count:
            return np.empty((0, size), np.float32)
        place = self._library.get_logits(self._handle)
        raw = (c.c_float * (count * size)).from_address(place)
        return np.frombuffer(memoryview(raw).cast("B"), np.float32).reshape(count, size)


class _Rows:
    """The arrays behind a llama_batch, filled anew for each step."""

    def __init__(self, room: int) -> None:
        self.count = 0
        self.wanted = 0
        self._token = np.zeros(room, np.int32)
        self._place = np.zeros(room, np.int32)
        self._line = np.zeros(room, np.int32)
        self._ones = np.ones(room, np.int32)
        self._wants = np.zeros(room, np.int8)
        self._upward = np.arange(room, dtype=np.int32)
        first = self._line.ctypes.data
        self._lines = np.arange(first, first + 4 * room, 4, dtype=np.uintp)
        arrays = (self._token, self._place, self._ones, self._lines, self._wants)
        token, place, ones, lines, wants = (array.ctypes.data for array in arrays)
        self._batch = Batch(0, token, None, place, ones, lines, wants)

    def clear(self) -> None:
        self.count = self.wanted = 0

    def add(self, tokens: list[int], position: int, line: int, rows: int) -> None:
        begin, size = self.count, len(tokens)
        end = begin + size
        if size == 1:
            self._token[begin] = tokens[0]
            self._place[begin] = position
            self._line[begin] = line
            self._wants[begin] = rows
        else:
            self._token[begin:end] = tokens
            np.add(self._upward[:size], position, out=self._place[begin:end])
            self._line[begin:end] = line
            self._wants[begin : end - rows] = 0
            self._wants[end - rows : end] = 1
        self.count = end
        self.wanted += rows

    def batch(self) -> Batch:
        self._batch.n_tokens = self.count
        return self._batch
