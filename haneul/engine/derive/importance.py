"""An importance matrix: how strongly each column of a matrix is used, measured on text.

While the model reads, every product of a matrix with its input passes by; the mean square of the
inputs' columns is what rounding should spare. Files are those of llama.cpp's `llama-imatrix` (its
GGUF form), so either can use the other's.
"""

from __future__ import annotations

import ctypes as c
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haneul.base.errors import BadRequest, BrokenFile
from haneul.base.gguf import Tensor
from haneul.engine.derive.ggml import Floats, size_bytes
from haneul.engine.derive.gguf_copy import Source, head, lay_out, pair, write
from haneul.engine.libllama.context import Context, Shape
from haneul.engine.libllama.library import Library, open_library
from haneul.engine.libllama.model import Model
from haneul.engine.worker.stepper import CannotServe

WINDOW_TOKENS = 512
ALIGNMENT = 32
SUMS, COUNTS = ".in_sum2", ".counts"
WANTED = re.compile(r"(blk\.\d+\..+|output)\.weight")
F32 = 0
Sums = NDArray[np.float64]
OnWindow = Callable[[int, int], None]


class GgmlTensor(c.Structure):
    """ggml_tensor, up to its name."""

    _fields_ = (
        ("type", c.c_int32),
        ("buffer", c.c_void_p),
        ("ne", c.c_int64 * 4),
        ("nb", c.c_size_t * 4),
        ("op", c.c_int32),
        ("op_params", c.c_int32 * 16),
        ("flags", c.c_int32),
        ("src", c.c_void_p * 10),
        ("view_src", c.c_void_p),
        ("view_offs", c.c_size_t),
        ("data", c.c_void_p),
        ("name", c.c_char * 64),
    )


_Watch = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_bool, c.c_void_p)


class Watcher:
    """Sums the squares of what is multiplied with each matrix, while a context computes."""

    def __init__(self, library: Library) -> None:
        self._raw = library.raw
        for name, result in (("ggml_get_name", c.c_void_p), ("ggml_op_desc", c.c_char_p)):
            function = getattr(self._raw, name)
            function.restype, function.argtypes = result, (c.c_void_p,)
        self.sums: dict[str, Sums] = {}
        self.counts: dict[str, Sums] = {}
        self.failed: BaseException | None = None
        self._is_proven = False
        self.callback = _Watch(self._see)  # kept: C holds only its address

    def _see(self, place: int, is_asked: bool, _: Any) -> bool:
        """Asked first whether the node is wanted, then shown it with its inputs computed."""
        try:
            node = self._tensor(place)
            kind = self._raw.ggml_op_desc(place)
            if kind not in (b"MUL_MAT", b"MUL_MAT_ID"):
                return not is_asked
            matrix, given = self._tensor(node.src[0]), self._tensor(node.src[1])
            name = matrix.name.decode(errors="replace")
            if not WANTED.fullmatch(name) or given.type != F32:
                return not is_asked
            if not is_asked:
                self._add(name, kind, node, matrix, given)
        except BaseException as error:  # noqa: BLE001  # nothing may be raised through C
            self.failed = error
            return False
        return True

    def _tensor(self, place: int) -> GgmlTensor:
        tensor = GgmlTensor.from_address(place)
        if not self._is_proven:
            if self._raw.ggml_get_name(place) - place != GgmlTensor.name.offset:
                raise CannotServe("The library's tensors lie in memory in another way.")
            self._is_proven = True
        return tensor

    def _add(
        self, name: str, kind: bytes, node: GgmlTensor, matrix: GgmlTensor, given: GgmlTensor
    ) -> None:
        experts, width = matrix.ne[2], matrix.ne[0]
        sums = self.sums.setdefault(name, np.zeros((experts, width)))
        counts = self.counts.setdefault(name, np.zeros(experts))
        rows = _numbers(given, np.float32)  # (…, tokens, width)
        squares = np.square(rows, dtype=np.float64)
        if kind == b"MUL_MAT":
            for expert in range(experts):  # matrices side by side each have inputs of their own
                mine = squares[:, expert] if experts > 1 else squares
                sums[expert] += mine.reshape(-1, width).sum(axis=0)
                counts[expert] += mine.size // width
            return
        chosen = _numbers(self._tensor(node.src[2]), np.int32)[0, 0]  # (tokens, used)
        squares = np.broadcast_to(squares[0], (*chosen.shape, width))
        for expert in np.unique(chosen):
            mine = squares[chosen == expert]
            sums[expert] += mine.sum(axis=0)
            counts[expert] += len(mine)


def _numbers(tensor: GgmlTensor, kind: Any) -> NDArray[Any]:
    """A tensor of this process's memory as an array, slowest dimension first."""
    shape, steps = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    size = sum((count - 1) * step for count, step in zip(shape, steps, strict=True)) + 4
    raw = (c.c_char * size).from_address(tensor.data)
    return np.ndarray(shape, kind, buffer=raw, strides=steps)


def measure(
    model: Path,
    texts: Sequence[str],
    *,
    threads: int = 1,
    on_window: OnWindow | None = None,
) -> tuple[dict[str, Sums], dict[str, Sums], int]:
    """Sums of squares and counts for each matrix, and the tokens read. Raises BrokenFile."""
    library = open_library()
    loaded = Model(library, model)
    try:
        watcher = Watcher(library)
        context = Context(loaded, _shape(threads), watch=watcher.callback)
        try:
            windows = []
            for text in texts:
                said = loaded.vocabulary.tokenise(text, with_special=True)
                windows += [
                    said[at : at + WINDOW_TOKENS] for at in range(0, len(said), WINDOW_TOKENS)
                ]
            for number, window in enumerate(windows, 1):
                context.read(window)
                if watcher.failed is not None:
                    raise watcher.failed
                if on_window is not None:
                    on_window(number, len(windows))
        finally:
            context.close()
    finally:
        loaded.close()
    return watcher.sums, watcher.counts, sum(map(len, windows))


def _shape(threads: int) -> Shape:
    return Shape(
        cells=WINDOW_TOKENS,
        lines=1,
        has_rooms=False,
        batch_tokens=WINDOW_TOKENS,
        rows=WINDOW_TOKENS,
        threads=threads,
        batch_threads=threads,
    )


def means(sums: dict[str, Sums], counts: dict[str, Sums]) -> dict[str, Floats]:
    """The mean square of each column: what the quantisers take. An expert never used counts as 1.

    Raises BrokenFile for numbers that are none.
    """
    found = {}
    for name, values in sums.items():
        often = counts[name].reshape(-1, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(often > 0, values / often, 1.0).astype(np.float32).reshape(-1)
        if not np.isfinite(mean).all():
            raise BrokenFile(f"The importance matrix of {name} has values that are no numbers.")
        found[name] = mean
    return found


def save(
    target: Path, sums: dict[str, Sums], counts: dict[str, Sums], *, dataset: str, chunks: int
) -> None:
    """Writes the file of llama-imatrix."""
    data: dict[str, Floats] = {}
    for name in sorted(sums):
        data[name + SUMS] = sums[name].astype(np.float32)
        data[name + COUNTS] = counts[name].astype(np.float32).reshape(-1, 1)
    tensors = [
        Tensor(name, (array.shape[1], array.shape[0]), "F32", 0, size_bytes(array.shape, "F32"))
        for name, array in data.items()
    ]
    plans = lay_out(((0, tensor, "F32") for tensor in tensors), ALIGNMENT)
    said: dict[str, Any] = {
        "general.type": "imatrix",
        "imatrix.datasets": [dataset],
        "imatrix.chunk_count": chunks,
        "imatrix.chunk_size": WINDOW_TOKENS,
    }
    kept = [(key, pair(key, value)) for key, value in said.items()]
    start = head(kept, plans, added={}, alignment=ALIGNMENT)
    write(
        target, start, plans, lambda plan: [data[plan.source.name].tobytes()], alignment=ALIGNMENT
    )


def load(path: Path) -> dict[str, Floats]:
    """What such a file says, as means. Raises BrokenFile and BadRequest."""
    source = Source([path])
    try:
        if source.header.metadata.get("general.type") != "imatrix":
            raise BadRequest("The file is no importance matrix in llama.cpp's GGUF form.")
        found: dict[str, dict[str, Sums]] = {SUMS: {}, COUNTS: {}}
        for plan in lay_out(((0, one, one.type) for one in source.tensors), ALIGNMENT):
            for end, into in found.items():
                if plan.source.name.endswith(end) and plan.source.type == "F32":
                    raw = np.frombuffer(source.read(plan, 0, plan.size_bytes), np.float32)
                    many = math.prod(plan.source.dims[1:])
                    name = plan.source.name.removesuffix(end)
                    into[name] = raw.astype(np.float64).reshape(many, -1)
    finally:
        source.close()
    sums, counts = found[SUMS], found[COUNTS]
    if not sums or set(sums) != set(counts):
        raise BrokenFile("The importance matrix has sums without counts.")
    for name, values in sums.items():
        if counts[name].shape != (len(values), 1):
            raise BrokenFile(f"The importance matrix of {name} has other counts than sums.")
    return means(sums, {name: values.reshape(-1) for name, values in counts.items()})
