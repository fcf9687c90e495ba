"""The kernel "libllama": our own scheduler over libllama, as a worker's process drives it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from haneul.base.errors import BadRequest, ContextTooLong, ModelNotFound, UnsupportedValue
from haneul.engine.libllama.answers import Answer, Answers
from haneul.engine.libllama.constraint import Grammars
from haneul.engine.libllama.context import CACHE_TYPES, Context, Shape
from haneul.engine.libllama.crew import Crew, others_used_s
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.model import Model
from haneul.engine.libllama.pace import Pace
from haneul.engine.libllama.pool import Pool
from haneul.engine.libllama.sampling import Chooser
from haneul.engine.libllama.scheduler import Scheduler
from haneul.engine.libllama.tasks import Task
from haneul.engine.protect import cores
from haneul.engine.worker.job import Job, Loaded, Step, WorkerSpec
from haneul.engine.worker.stepper import CannotServe

BATCH_TOKENS = 512  # of one step, at most
SLOTS_MOST = 256  # LLAMA_MAX_SEQ
DRAFT_ROWS = 32  # of logits beside one for each sequence
CELLS_STEP = 256  # the library counts cells by so many
_OPTIONS = {"library", "flash", "cache_type", "lookup", "batch_threads", "memory", "cells"}


class LibllamaStepper:
    """Implements haneul.engine.worker.stepper.Stepper."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._options = _checked(spec.options)
        self._adapters = dict(spec.adapters)

    def load(self) -> Loaded:
        """Loads the model, proves that it can be served, and measures its first step."""
        spec = self._spec
        path = self._options.get("library")
        self._library = open_library(Path(path) if path else None)
        self._model = Model(self._library, Path(spec.file))
        try:
            self._model.check()
            self._context_tokens = _context_tokens(self._model, spec.context_tokens)
            self._open()
        except CannotServe:
            self._model.close()
            raise
        vocabulary = self._model.vocabulary
        self._maker = ThreadPoolExecutor(1)  # a second for a large vocabulary: nobody waits for it
        self._grammars = self._maker.submit(Grammars, vocabulary)
        return Loaded(
            facts=self._model.facts(context_tokens=self._context_tokens),
            kernel=f"llama.cpp {self._library.name} (own scheduler)",
            lacks=[],
            bos=vocabulary.bos,
            eos=vocabulary.eos,
            template=self._model.template(),
        )

    def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        return self._model.vocabulary.tokenise(text, with_special=with_special)

    def detokenise(self, tokens: list[int]) -> str:
        """Raises BadRequest for tokens that the model does not have."""
        try:
            return self._model.vocabulary.detokenise(tokens)
        except ValueError as cause:
            raise BadRequest("The model has no such token.", param="tokens") from cause

    def begin(self, number: int, job: Job, prompt: list[int]) -> None:
        """Takes a job in. Raises BadRequest, ContextTooLong, ModelNotFound, BrokenFile."""
        vocabulary = self._model.vocabulary
        if not prompt:
            raise BadRequest("The prompt has no tokens.", param="prompt")
        if not all(0 <= token < vocabulary.size for token in prompt):
            raise BadRequest("The prompt has a token that the model does not have.", param="prompt")
        if len(prompt) >= self._context_tokens:
            raise ContextTooLong(
                f"The prompt has {len(prompt)} tokens; this model's context holds "
                f"{self._context_tokens}.",
                prompt_tokens=len(prompt),
                context_tokens=self._context_tokens,
            )
        if job.adapter and job.adapter not in self._adapters:
            raise ModelNotFound(f"There is no adapter {job.adapter!r} of this model.")
        if job.adapter:
            self._model.adapter(job.adapter, Path(self._adapters[job.adapter]))
        guide = None
        if job.constraint is not None:
            guide = self._grammars.result().start(job.constraint)
        new = job.max_tokens if job.max_tokens is not None else self._context_tokens
        task = Task(
            number,
            prompt,
            most=min(self._context_tokens, len(prompt) + max(1, new)),
            now_s=time.monotonic(),
            priority=job.priority,
            owner=job.owner,
            adapter=job.adapter,
        )
        chooser = Chooser(job, prompt, vocabulary.ends, vocabulary.size)
        self._answers.add(Answer(job, task, chooser, guide))

    def cancel(self, number: int) -> None:
        self._answers.cancel(number)

    @property
    def is_idle(self) -> bool:
        return self._answers.is_idle

    def step(self) -> list[tuple[int, Step | Exception]]:
        return self._answers.step()

    def call(self, what: str, value: Any) -> Any:
        """ "counters"; "adapter" with a name and a file: known from now on."""
        if what == "counters":
            return self._answers.counters()
        if what == "adapter":
            self._model.adapter(value["name"], Path(value["file"]))
            self._adapters[value["name"]] = value["file"]
            return None
        raise UnsupportedValue(f"This kernel cannot do {what!r}.")

    def close(self) -> None:
        """Gives the memory back; a worker's process simply ends instead."""
        self._maker.shutdown()
        self._context.close()
        self._model.close()

    def _open(self) -> None:
        shape = _shape(self._spec, self._options, self._context_tokens)
        self._context = Context(self._model, shape)
        fixed_s, token_s = self._context.probe()
        scheduler = Scheduler(
            self._context,
            Pool(
                cells=shape.cells,
                lines=shape.lines,
                room=shape.cells // shape.lines if shape.has_rooms else None,
            ),
            Pace(fixed_s=fixed_s, token_s=token_s),
            places=min(self._spec.slots, SLOTS_MOST),
            rest_cells=shape.cells // 2,
            batch_tokens=shape.batch_tokens,
        )
        self._answers = Answers(
            self._model,
            self._context,
            scheduler,
            adapters=self._adapters,
            crew=_crew(shape),
            draft_rows=DRAFT_ROWS if self._options.get("lookup", True) else 0,
        )


def _crew(shape: Shape) -> Crew:
    most = max(shape.threads, shape.batch_threads)
    return Crew(most, processors=cores(), used_s=others_used_s)


def _context_tokens(model: Model, wanted: int) -> int:
    trained = model.facts(context_tokens=0).trained_context_tokens
    return min(wanted, trained) if trained > 0 else wanted


def _shape(spec: WorkerSpec, options: dict[str, Any], context_tokens: int) -> Shape:
    """Rooms unless asked for a hall, which may be smaller than what all could need at most."""
    slots = min(spec.slots, SLOTS_MOST)
    has_rooms = options.get("memory", "rooms") == "rooms"
    room = -(-context_tokens // CELLS_STEP) * CELLS_STEP
    lines = slots if has_rooms else min(SLOTS_MOST, max(8, 4 * slots))
    cells = lines * room if has_rooms else max(room, options.get("cells", slots * room))
    return Shape(
        cells=-(-cells // CELLS_STEP) * CELLS_STEP,
        lines=lines,
        has_rooms=has_rooms,
        batch_tokens=BATCH_TOKENS,
        rows=slots + DRAFT_ROWS,
        threads=spec.threads,
        batch_threads=options.get("batch_threads", spec.threads),
        flash=options.get("flash", True),
        cache_type=options.get("cache_type", "f16"),
    )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options, known ones only. Raises CannotServe."""
    if unknown := sorted(options.keys() - _OPTIONS):
        raise CannotServe(f"This kernel has no option {unknown[0]}.")
    if options.get("cache_type", "f16") not in CACHE_TYPES:
        raise CannotServe(f"This kernel has no cache of type {options['cache_type']}.")
    if options.get("memory", "rooms") not in ("rooms", "hall"):
        raise CannotServe(f"This kernel has no memory {options['memory']}.")
    return options
