"""The seam inside a worker's process: what a kernel must be able to do, on one thread."""

from __future__ import annotations

from typing import Any, Protocol

from haneul.base.errors import CommandError
from haneul.engine.worker.job import Job, Loaded, Step


class CannotServe(CommandError):
    """This kernel cannot serve the model; another might."""


class Stepper(Protocol):
    """Computes sequences step by step. Everything but `tokenise` is called from one thread."""

    def load(self) -> Loaded:
        """Raises BrokenFile for a file nobody can load, CannotServe when another kernel might."""
        ...

    def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        """Token ids; may be called from another thread while a step runs."""
        ...

    def detokenise(self, tokens: list[int]) -> str: ...

    def begin(self, number: int, job: Job, prompt: list[int]) -> None:
        """Takes a job in; its prompt is tokens now. Raises HaneulError to refuse it."""
        ...

    def cancel(self, number: int) -> None:
        """Frees what the job holds, before the next step. Unknown numbers are none's business."""
        ...

    @property
    def is_idle(self) -> bool: ...

    def step(self) -> list[tuple[int, Step | Exception]]:
        """Computes one bounded step (about 0.25 s at most) and says what each job got of it.

        A job that ended (finish_reason set, or an error) is forgotten by the kernel.
        """
        ...

    def call(self, what: str, value: Any) -> Any:
        """Small questions: "counters" -> dict[str, float], and what else a kernel can
        ("embed", "rerank", "adapter"). Raises HaneulError."""
        ...
