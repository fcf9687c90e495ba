"""Opens a model with the first kernel that can serve it.

`auto` tries our own scheduler, then llama-server; OpenVINO is taken when tuning chose it by name.
A kernel that was named is tried first, and its reason is told when another one had to step in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.log import logger
from haneul.engine.kernel import Facts, Kernel
from haneul.engine.llama_server.kernel import LlamaKernel, Settings
from haneul.engine.speech.speaker import Speaker
from haneul.engine.worker.job import WorkerSpec
from haneul.engine.worker.stepper import CannotServe

KERNELS = ("libllama", "openvino", "llama-server")
FALLBACK_SLOTS = 2  # of a llama-server beside a worker: it takes memory of its own
log = logger("engine")


class Plan(Struct, frozen=True, kw_only=True):
    """What an engine is told about its kernel."""

    kernel: str  # one of KERNELS, or "auto"
    options: dict[str, Any]  # for that kernel alone
    adapters: dict[str, str]  # name -> GGUF LoRA file
    settings: Settings


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
            kernel = self._speaker(name, self._plan.settings)
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

    def _speaker(self, name: str, settings: Settings) -> Speaker:
        """A worker with another kernel behind it, for what it lacks."""
        spec = WorkerSpec(
            kernel=name,
            file=str(settings.file),
            parent=os.getpid(),
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            threads=settings.threads,
            adapters=self._plan.adapters,
            options=self._plan.options if name == self._plan.kernel else {},
        )
        few = replace(settings, slots=min(FALLBACK_SLOTS, settings.slots))
        other = self._speaker("libllama", few) if name == "openvino" else LlamaKernel(few)
        return Speaker(spec, other, self._metadata)
