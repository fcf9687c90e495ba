"""Opens a model with the first kernel that can serve it.

`auto` tries our own scheduler, then llama-server; OpenVINO is taken when tuning chose it by name.
A kernel that was named is tried first, and its reason is told when another one had to step in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from haneul.base.log import logger
from haneul.engine.kernel import Facts, Kernel
from haneul.engine.llama_server.kernel import LlamaKernel, Settings
from haneul.engine.pair import Pair
from haneul.engine.speech.speaker import Speaker
from haneul.engine.worker.job import WorkerSpec
from haneul.engine.worker.stepper import CannotServe

KERNELS = ("libllama", "openvino", "llama-server")
FALLBACK_SLOTS = 2  # of a llama-server beside a worker: it takes memory of its own
log = logger("engine")


class Many(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """The kernel that takes over when so many answers are made at once."""

    kernel: str
    options: dict[str, Any] = {}
    threads: int = 0  # 0: as many as the first
    file: str = ""  # the model in another format; empty: the same file
    from_: Annotated[int, Meta(ge=2, le=64)] = 3


class Plan(Struct, frozen=True, kw_only=True):
    """What an engine is told about its kernel."""

    kernel: str  # one of KERNELS, or "auto"
    options: dict[str, Any]  # for that kernel alone
    adapters: dict[str, str]  # name -> GGUF LoRA file
    settings: Settings
    many: Many | None = None  # a second kernel, for when many ask at once


class Opened(Struct, frozen=True):
    """A kernel whose model is loaded."""

    kernel: Kernel
    facts: Facts
    name: str
    has_scheduler: bool  # orders its own line


class Opening:
    """Loads once; `close` ends whatever was started."""

    def __init__(self, plan: Plan, metadata: Mapping[str, Any]) -> None:
        self._plan = plan
        self._metadata = metadata
        self._kernels: list[Kernel] = []

    async def load(self) -> Opened:
        """The opened model. Raises BrokenFile, or CannotServe when an adapter cannot be had."""
        for name in self._order():
            kernel = self._with_many(self._speaker(name, self._plan.settings))
            self._kernels.append(kernel)
            try:
                facts = await kernel.start()
            except CannotServe as error:
                log.warning("kernel_cannot_serve", kernel=name, reason=error.message)
                await kernel.close()
                self._kernels.remove(kernel)
                continue
            return Opened(kernel, facts, name, has_scheduler=True)
        if self._plan.adapters:
            raise CannotServe("No kernel here can use adapters with this model.")
        server = LlamaKernel(self._plan.settings)
        self._kernels.append(server)
        return Opened(server, await server.start(), "llama-server", has_scheduler=False)

    async def close(self) -> None:
        for kernel in self._kernels:
            await kernel.close()

    def _order(self) -> list[str]:
        asked = self._plan.kernel
        if asked == "llama-server" or self._plan.settings.only_pools:
            return []
        return ["openvino", "libllama"] if asked == "openvino" else ["libllama"]

    def _with_many(self, alone: Speaker) -> Kernel:
        """The kernel itself, or paired with the one for many."""
        many = self._plan.many
        if many is None:
            return alone
        settings = replace(
            self._plan.settings,
            file=Path(many.file) if many.file else self._plan.settings.file,
            threads=many.threads or self._plan.settings.threads,
        )
        spec = self._spec(many.kernel, settings, many.options)

        def make() -> Speaker:
            return Speaker(spec, alone, self._metadata, is_borrowed=True)

        return Pair(alone, make, many_from=many.from_)

    def _speaker(self, name: str, settings: Settings) -> Speaker:
        """A worker with another kernel behind it, for what it lacks."""
        options = self._plan.options if name == self._plan.kernel else {}
        spec = self._spec(name, settings, options)
        few = replace(settings, slots=min(FALLBACK_SLOTS, settings.slots))
        other = self._speaker("libllama", few) if name == "openvino" else LlamaKernel(few)
        return Speaker(spec, other, self._metadata)

    def _spec(self, kernel: str, settings: Settings, options: dict[str, Any]) -> WorkerSpec:
        return WorkerSpec(
            kernel=kernel,
            file=str(settings.file),
            parent=os.getpid(),
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            threads=settings.threads,
            adapters=self._plan.adapters,
            options=options,
        )
