"""What a search tries: each axis in turn, starting from the best that was found so far.

A full grid would take an hour; kernels, then threads, then weights and the rest, one factor at a
time, take a minute or two. A quick search leaves out what seldom helps.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from haneul import __version__
from haneul.services.tune import native
from haneul.services.tune.setup import AUTO, NATIVE, Setup

LLAMA_SERVER, LIBLLAMA, OPENVINO = "llama-server", "libllama", "openvino"
LLAMA_CPP_PACKAGE, OPENVINO_PACKAGE = "xllamacpp", "openvino-genai"
REPACKED = ("Q4_0", "Q8_0")  # formats with the fastest kernels; OpenVINO reads both
QUICK_REQUANTISE_MAX_BYTES = 400_000_000  # larger ones take longer than a quick search may
# Options of each kernel that are tried on the best setups, and those that a full search adds.
QUICK_OPTIONS: dict[str, list[dict[str, Any]]] = {LIBLLAMA: [{"flash": False}, {"memory": "hall"}]}
FULL_OPTIONS: dict[str, list[dict[str, Any]]] = {
    LIBLLAMA: [{"cache_type": "q8_0"}, {"lookup": False}],
    OPENVINO: [{"lookup": True}],
}


class Scope(Struct, frozen=True, kw_only=True):
    """What there is to choose from here."""

    kernels: tuple[Setup, ...]  # beyond the default
    cores: int
    formats: tuple[str, ...]  # to requantise to
    is_full: bool = False


def versions(home: Path, chip: str) -> str:
    """Of everything that could change the result: a search holds as long as this text does."""
    known = {"haneul": __version__, LLAMA_CPP_PACKAGE: _version(LLAMA_CPP_PACKAGE)}
    known[OPENVINO_PACKAGE] = _version(OPENVINO_PACKAGE)
    known["native"] = native.VERSION if native.native_folder(home, chip) else ""
    return "; ".join(f"{name} {found}" for name, found in known.items() if found)


def kernels(home: Path, chip: str, *, is_full: bool = True) -> tuple[Setup, ...]:
    """One setup for each kernel that is installed here; a quick search leaves out the fallback."""
    found = [Setup(kernel=LIBLLAMA)]
    if native.native_folder(home, chip):
        found.append(Setup(kernel=LIBLLAMA, library=NATIVE))
    if _version(OPENVINO_PACKAGE) and sys.platform == "linux":
        found.append(Setup(kernel=OPENVINO))
    return (*found, Setup(kernel=LLAMA_SERVER)) if is_full else tuple(found)


def formats(
    quantisation: str, size_bytes: int, *, named: Sequence[str], is_full: bool
) -> list[str]:
    """Formats that the weights may be requantised to, for the sake of faster kernels.

    Never a larger one than the file's by default: it could not gain quality, only lose speed.
    """
    if named:
        return [name for name in named if name != quantisation]
    if not is_full and size_bytes > QUICK_REQUANTISE_MAX_BYTES:
        return []
    is_small = quantisation.startswith(("Q4", "Q5", "IQ4", "MXFP4"))
    fitting = ("Q4_0",) if is_small and not is_full else REPACKED
    return [name for name in fitting if name != quantisation]


def thread_setups(best: Setup, cores: int, *, is_full: bool) -> list[Setup]:
    """Fewer threads: two can be slower than one on a tiny model or a busy machine."""
    counts = {max(1, cores // 2)} | ({1, cores - 1} if is_full else set())
    return [replace(best, threads=count) for count in sorted(counts - {0, cores, best.threads})]


def format_setups(best: Setup, formats_here: Sequence[str]) -> list[Setup]:
    """The best so far with other weights."""
    return [replace(best, weights=name) for name in formats_here if name != best.weights]


def further_setups(best: Setup, kernel: str, *, is_full: bool) -> list[Setup]:
    """The kernel's own options: memory, precision of keys and values, lookup."""
    named = kernel if best.kernel == AUTO else best.kernel
    options = QUICK_OPTIONS.get(named, []) + (FULL_OPTIONS.get(named, []) if is_full else [])
    return [
        replace(best, kernel=named, options={**best.options, **more})
        for more in options
        if not more.items() <= best.options.items()
    ]


@lru_cache(maxsize=8)
def _version(package: str) -> str:
    """As this process found it first; what is asked every two seconds is not read each time."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
