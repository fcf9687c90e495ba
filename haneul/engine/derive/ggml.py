"""ggml's own quantisers and readers, in the wheel that the kernel is in, through ctypes.

The wheel has them all, with importance matrices, but not the loop around them (its linker left
`llama_model_quantize` out). So which tensor gets which format is decided in mix.py, and the numbers
are ggml's. That its types are our types is proven when it is opened.
"""

from __future__ import annotations

import ctypes as c
import math
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from haneul.base.errors import BrokenFile
from haneul.base.gguf_types import TENSOR_TYPES
from haneul.engine.libllama.library import wheel_path
from haneul.engine.worker.stepper import CannotServe

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

FORMS = {form.name: form for form in TENSOR_TYPES.values()}
NUMBERS = {form.name: number for number, form in TENSOR_TYPES.items()}
# What quantises, and so can be written. The others are read where ggml reads them.
WRITTEN: tuple[str, ...] = (
    "F32",
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q3_K",
    "Q4_K",
)
WRITTEN += ("Q5_K", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
WRITTEN += ("IQ4_NL", "IQ4_XS")
INNER = ("Q8_1", "Q8_K")  # of activations, never of a file
CHUNK_WEIGHTS = 1 << 16  # of one call, where threads share the work

_ToFloat = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_int64)


class _Traits(c.Structure):
    """ggml_type_traits."""

    _fields_ = (
        ("name", c.c_char_p),
        ("block_weights", c.c_int64),
        ("interleave", c.c_int64),
        ("block_bytes", c.c_size_t),
        ("is_quantised", c.c_bool),
        ("to_float", c.c_void_p),
        ("from_float", c.c_void_p),
    )


class Ggml:
    """Blocks to floats and floats to blocks, by several threads; `with` ends the threads."""

    def __init__(self, *, threads: int = 1) -> None:
        self._raw = c.CDLL(str(wheel_path()))
        self._threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self._threads) if threads > 1 else None
        declared: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "ggml_get_type_traits": (c.POINTER(_Traits), (c.c_int,)),
            "ggml_quantize_init": (None, (c.c_int,)),
            "ggml_quantize_chunk": (
                c.c_size_t,
                (c.c_int, c.c_void_p, c.c_void_p, c.c_int64, c.c_int64, c.c_int64, c.c_void_p),
            ),
            "ggml_validate_row_data": (c.c_bool, (c.c_int, c.c_void_p, c.c_size_t)),
        }
        for name, (result, arguments) in declared.items():
            function = getattr(self._raw, name, None)
            if function is None:
                raise CannotServe(f"{wheel_path().name} has no {name}.")
            function.restype, function.argtypes = result, arguments
        self._readers = {kind: self._reader(kind) for kind in FORMS if kind not in INNER}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def floats(self, data: Bytes, kind: str) -> Floats:
        """The weights that whole blocks stand for. Raises BrokenFile for kinds without a reader."""
        form = FORMS[kind]
        if kind == "F32":
            return np.frombuffer(data.tobytes(), np.float32)
        reader = self._readers.get(kind)
        if reader is None:
            raise BrokenFile(f"Weights in {kind} cannot be read here.")
        data = np.ascontiguousarray(data)
        count = data.nbytes // form.block_bytes
        weights = np.empty(count * form.block_weights, np.float32)
        each = max(1, CHUNK_WEIGHTS // form.block_weights)

        def read(start: int) -> None:
            blocks = min(each, count - start)
            source = data.ctypes.data + start * form.block_bytes
            target = weights.ctypes.data + 4 * start * form.block_weights
            reader(source, target, blocks * form.block_weights)

        self._spread(read, range(0, count, each))
        return weights

    def blocks(self, rows: Floats, kind: str, importance: Floats | None = None) -> Bytes:
        """Rows of weights in one format. `importance`: one number per column.

        Raises BrokenFile for weights that are no numbers, and what stands for none.
        """
        form, number = FORMS[kind], NUMBERS[kind]
        rows = np.ascontiguousarray(rows, np.float32)
        count, width = rows.shape
        row_bytes = width // form.block_weights * form.block_bytes
        out = np.empty(count * row_bytes, np.uint8)
        if importance is not None:
            importance = np.ascontiguousarray(importance, np.float32)
        weighed = None if importance is None else importance.ctypes.data
        self._raw.ggml_quantize_init(number)  # once, before threads ask for the same tables
        each = max(1, CHUNK_WEIGHTS // width)
        bad: list[int] = []

        def write(start: int) -> None:
            some = min(each, count - start)
            source, target = rows.ctypes.data + 4 * start * width, start * row_bytes
            target += out.ctypes.data
            size = self._raw.ggml_quantize_chunk(number, source, target, 0, some, width, weighed)
            is_good = size == some * row_bytes
            if not is_good or not self._raw.ggml_validate_row_data(number, target, size):
                bad.append(start)

        self._spread(write, range(0, count, each))
        if bad:
            raise BrokenFile("It has weights that are not numbers.")
        return out

    def _spread(self, work: Any, starts: range) -> None:
        if self._pool is None or len(starts) < 2:
            for start in starts:
                work(start)
        else:
            list(self._pool.map(work, starts))

    def _reader(self, kind: str) -> Any:
        traits = self._raw.ggml_get_type_traits(NUMBERS[kind]).contents
        form = FORMS[kind]
        said = (traits.name or b"").decode().upper(), traits.block_weights, traits.block_bytes
        if said != (form.name, form.block_weights, form.block_bytes):
            raise CannotServe(f"The library's {kind} is another one: {said}.")
        return _ToFloat(traits.to_float) if traits.to_float else None


def size_bytes(dims: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor of those dimensions in one format."""
    form = FORMS[kind]
    return math.prod(dims) // form.block_weights * form.block_bytes
