"""Which engine process a model gets: its context, its slots, and the setup that was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from haneul.base.config import Config
from haneul.chips.footprint import kv_bytes
from haneul.chips.shape import Shape
from haneul.models.hub import shape
from haneul.services.replica import Spec
from haneul.services.tune.native import native_folder
from haneul.services.tune.setup import NATIVE, Setup, kernel_options, show, weights_path
from haneul.store.models import ModelRow

ENGINE_QUEUE = 128  # ours is the queue of requests; theirs holds the answers of one with a high n
CONTEXT_TOKENS = 4096  # per sequence, unless the model was trained for less
SLOTS = (16, 8, 4, 2, 1)  # the most of these whose KV cache stays within a share of memory
CACHE_SHARE = 1 / 8
UNKNOWN_MEMORY_SLOTS = 4


def context(config: Config, row: ModelRow) -> int:
    """Tokens of context per sequence: as configured, or 4,096, never more than was trained."""
    trained = shape(row).context_tokens or CONTEXT_TOKENS
    return min(config.context_tokens or CONTEXT_TOKENS, trained)


def slots_of(config: Config, shape: Shape, memory_bytes: int | None) -> int:
    """Answers at a time: as configured, or what an eighth of the memory can remember, up to 16."""
    if config.slots:
        return config.slots
    if memory_bytes is None:
        return UNKNOWN_MEMORY_SLOTS
    tokens = min(config.context_tokens or CONTEXT_TOKENS, shape.context_tokens or CONTEXT_TOKENS)
    each = max(1, kv_bytes(shape, tokens, is_cautious=True))
    return next((slots for slots in SLOTS if slots * each <= CACHE_SHARE * memory_bytes), 1)


def spec_of(
    config: Config,
    row: ModelRow,
    setup: Setup | None = None,
    *,
    chip: str = "",
    memory_bytes: int | None = None,
) -> Spec:
    """The process for a model with a setup; without one, or where its files are gone, the default.

    Threads that were configured stand above those that were chosen.
    """
    chosen = setup or Setup()
    path = weights_path(config.home, Path(row.path), row.digest, chosen)
    native = native_folder(config.home, chip)
    if not path.is_file() or (chosen.library == NATIVE and native is None):
        chosen, path, native = Setup(), Path(row.path), None
    many = _many(config, row, chosen, native)
    return Spec(
        model=row.name,
        path=path,
        slots=slots_of(config, shape(row), memory_bytes),
        context_tokens=context(config, row),
        threads=config.threads or chosen.threads,
        queue=ENGINE_QUEUE,
        kernel=chosen.kernel,
        options=kernel_options(chosen, native),
        many=many,
        setup=show(chosen) if chosen != Setup() else "",
    )


def _many(
    config: Config, row: ModelRow, chosen: Setup, native: Path | None
) -> dict[str, Any] | None:
    """What the engine is told of its second kernel; None where there is none, or it has no file."""
    setup = chosen.many
    if setup is None or (setup.library == NATIVE and native is None):
        return None
    path = weights_path(config.home, Path(row.path), row.digest, setup)
    if not path.is_file():
        return None
    told = {
        "kernel": setup.kernel,
        "options": kernel_options(setup, native),
        "threads": config.threads or setup.threads,
        "file": str(path),
    }
    return told | ({"from": chosen.many_from} if chosen.many_from else {})
