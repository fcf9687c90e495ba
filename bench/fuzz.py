"""Feeds the readers of model files with files that lie: no crash, no hang, nothing let through.

    python -m bench.fuzz gguf --files 50000          files of bench/mutate.py
    python -m bench.fuzz_led gguf --files 50000      files of atheris, led by the lines they reach

Each file is read or refused with a reason, soon and within a bound on memory; every tensor of one
that is read lies inside it and apart from the others; reading it from its first bytes comes to the
same; and what may be given to an engine is read by the reference too: llama.cpp's own reader for
GGUF, the safetensors library for safetensors.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.mutate import Mutants
from haneul.base import gguf, safetensors
from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import More
from haneul.base.gguf_model import check_model

FORMATS = ("gguf", "safetensors")
SLOW_S = 2.0  # for one file of a few kilobytes
MEMORY_MAX_BYTES = 4 << 30  # of addresses; beyond, Python says MemoryError and the run fails
ROUNDS_MAX = 16
REASON_MAX = 600


class Judge:
    """Judges files of one format, one after the other, and counts what became of them."""

    def __init__(self, format: str, folder: Path) -> None:
        self.path = folder / f"model.{format}"
        self.format = format
        self.read = gguf if format == "gguf" else safetensors
        self.reasons: Counter[str] = Counter()
        self.taken = self.known = 0
        self.slowest_s = 0.0
        self._engine = _engine_reader() if format == "gguf" else None
        self._library = _library() if format == "safetensors" else None

    def judge(self, data: bytes) -> None:
        """Raises AssertionError, or whatever a reader should not have raised."""
        self.path.write_bytes(data)
        began = time.perf_counter()
        header, reason = self._whole()
        spent = time.perf_counter() - began
        self.slowest_s = max(self.slowest_s, spent)
        assert spent < SLOW_S, f"{spent:.1f} s for {len(data)} bytes"
        self._check_first(data, header)
        if header is None:
            self.reasons[_kind(reason)] += 1
            return
        self.taken += 1
        _check_inside(header, len(data))
        if self.format == "safetensors":
            self._check_library(data, header)
        elif _is_model(header):
            self._check_engine(header)

    def _whole(self) -> tuple[Any, str]:
        try:
            return self.read.read_header(self.path), ""
        except BrokenFile as refused:
            said = refused.message
            assert 0 < len(said) < REASON_MAX, said
            assert said.isprintable(), said
            assert str(self.path.parent) not in said, said
            return None, said

    def _check_first(self, data: bytes, header: Any) -> None:
        """Reads it as from elsewhere, a little at a time: the verdict is the same."""
        have = 16
        for _ in range(ROUNDS_MAX):
            try:
                found = self.read.read_first(data[:have], file_bytes=len(data))
            except BrokenFile:
                assert header is None, "refused by its first bytes only"
                return
            if not isinstance(found, More):
                assert repr(found) == repr(header), "read otherwise by its first bytes"  # NaN too
                return
            assert have < found.bytes <= len(data), (have, found, len(data))
            have = min(found.bytes, have * 2)  # less than asked for, to meet every edge
            have = max(have, 16)
        raise AssertionError("never enough first bytes")

    def _check_engine(self, header: Any) -> None:
        """Llama.cpp's own reader takes what we would give to an engine."""
        if self._engine is None:
            return
        count = self._engine(self.path)
        assert count == len(header.tensors), f"llama.cpp reads {count} tensors"
        self.known += 1

    def _check_library(self, data: bytes, header: Any) -> None:
        if self._library is None:
            return
        theirs = {name: (facts["dtype"], facts["shape"]) for name, facts in self._library(data)}
        ours = {tensor.name: (tensor.dtype, list(tensor.shape)) for tensor in header.tensors}
        assert ours == theirs, "the safetensors library reads it otherwise"
        self.known += 1


def _is_model(header: Any) -> bool:
    try:
        check_model(header)
    except BrokenFile:
        return False
    return True


def _check_inside(header: Any, size: int) -> None:
    spans = sorted(
        (header.data_offset + tensor.offset, tensor.size_bytes) for tensor in header.tensors
    )
    end = 0
    for begin, count in spans:
        assert begin >= end, "tensors overlap"
        end = begin + count
    assert end <= size, "a tensor lies outside the file"
    assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)


def _kind(reason: str) -> str:
    """A reason without its names and numbers."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", reason)[:70]


def _engine_reader() -> Any:
    """A function that counts tensors with llama.cpp's own reader; None where there is none."""
    spec = importlib.util.find_spec("xllamacpp")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or [] for file in Path(folder).glob("*.so")]
    if not files:
        return None
    library = ctypes.CDLL(str(files[0]), mode=ctypes.RTLD_LOCAL)
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    library.ggml_log_set(quiet, None)

    class Parameters(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))

    library.gguf_init_from_file.restype = ctypes.c_void_p
    library.gguf_init_from_file.argtypes = [ctypes.c_char_p, Parameters]
    library.gguf_get_n_tensors.restype = ctypes.c_int64
    library.gguf_get_n_tensors.argtypes = [ctypes.c_void_p]
    library.gguf_free.argtypes = [ctypes.c_void_p]

    def count(path: Path, _kept: Any = quiet) -> int | None:
        found = library.gguf_init_from_file(str(path).encode(), Parameters(True, None))
        if not found:
            return None
        tensors = library.gguf_get_n_tensors(found)
        library.gguf_free(found)
        return int(tensors)

    return count


def _library() -> Any:
    if importlib.util.find_spec("safetensors") is None:
        return None
    return importlib.import_module("safetensors").deserialize


def run(format: str, files: int, seed: int) -> dict[str, Any]:
    """Judges so many files made by mutate.py; the numbers of the run."""
    mutants = Mutants(format, seed)
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        judge = Judge(format, Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        for number in range(files):
            data = mutants.next()
            try:
                judge.judge(data)
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{format}-{seed}-{number}"
                kept.write_bytes(data)
                print(f"file {number} of seed {seed}, kept as {kept}", file=sys.stderr)
                raise
        return told(judge, files, seed, time.perf_counter() - began, before)


def told(judge: Judge, files: int, seed: int, spent_s: float, before_kib: int) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "format": judge.format,
        "files": files,
        "seed": seed,
        "read": judge.taken,
        "read_by_the_reference_too": judge.known,
        "refused": sum(judge.reasons.values()),
        "reasons": len(judge.reasons),
        "slowest_ms": round(judge.slowest_s * 1000, 1),
        "seconds": round(spent_s, 1),
        "memory_grew_mib": round((peak - before_kib) / 1024, 1),
        "most": judge.reasons.most_common(12),
    }


def fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> None:
    """Prints the numbers of the run as JSON."""
    parser = argparse.ArgumentParser(description="Feeds the readers of model files with lies.")
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    print(json.dumps(run(options.format, options.files, options.seed), indent=1))


if __name__ == "__main__":
    main()
