"""One way to run a model's engine: kernel, threads, weights' format and the kernel's own options.

A setup names things ("the library built here"), places are put in when an engine is started, so
that what was chosen stays true when a home moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base import places

AUTO = "auto"
NATIVE = "native"  # the libllama that was built on this machine
LIBRARY_FILE = "libllama.so"
LOSSY_OPTIONS = {"cache_type", "kv_precision", "precision", "dynamic_quantisation_group"}


class Setup(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be chosen. The defaults are what an untuned engine does."""

    kernel: str = AUTO  # auto, libllama, openvino, llama-server
    threads: int = 0  # 0: one per core
    weights: str = ""  # the format the file was requantised to, such as "Q4_0"; "": as it is
    library: str = ""  # NATIVE, or "" for the wheel's
    options: dict[str, Any] = {}  # further ones, by the kernel's own names
    many: Setup | None = None  # of a second kernel, for when many ask at once
    many_from: int = 0  # answers at once that it takes over from; 0: as the engine does unasked

    @property
    def is_lossy(self) -> bool:
        """Whether it computes with coarser numbers than the default, so that quality may differ."""
        return bool(self.weights) or not LOSSY_OPTIONS.isdisjoint(self.options)

    @property
    def key(self) -> str:
        """The same text for the same setup."""
        return msgspec.json.encode(self, order="sorted").decode()


def read(text: str) -> Setup:
    """A setup as `key` wrote it."""
    return msgspec.json.decode(text, type=Setup)


def paired(single: Setup, many: Setup, many_from: int = 0) -> Setup | None:
    """Both setups in one engine; None where one kernel is the best for one stream and for several.

    A weaker setup of the same kernel is not worth its memory, and llama-server keeps its own line.
    """
    kernels = {_worker(single), _worker(many)}
    if len(kernels) == 1 or "llama-server" in kernels:
        return None
    return msgspec.structs.replace(single, many=many, many_from=many_from)


def show(setup: Setup) -> str:
    """A setup as people read it: 'libllama, native build, 2 threads, Q4_0'."""
    if setup.many is not None:
        alone = msgspec.structs.replace(setup, many=None, many_from=0)
        several = f"{setup.many_from} streams or more" if setup.many_from else "several streams"
        return f"{show(alone)}; for {several} {show(setup.many)}"
    parts = [setup.kernel]
    if setup.library == NATIVE:
        parts.append("native build")
    if setup.threads:
        parts.append(f"{setup.threads} thread{'s' if setup.threads > 1 else ''}")
    if setup.weights:
        parts.append(f"requantised to {setup.weights}")
    parts += [f"{name} {_word(value)}" for name, value in sorted(setup.options.items())]
    return ", ".join(parts)


def weights_path(home: Path, path: Path, digest: str, setup: Setup) -> Path:
    """The file that a setup loads: the model's own, or its requantised form."""
    return places.derived(home) / f"{digest}.{setup.weights}.gguf" if setup.weights else path


def kernel_options(setup: Setup, native: Path | None) -> dict[str, Any]:
    """The options that the engine is given; `native` is the folder of the build of this machine."""
    if setup.library == NATIVE and native is not None:
        return {**setup.options, "library": str(native / LIBRARY_FILE)}
    return dict(setup.options)


def _worker(setup: Setup) -> str:
    return "libllama" if setup.kernel == AUTO else setup.kernel


def _word(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
