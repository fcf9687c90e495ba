"""The kernel "openvino": OpenVINO GenAI's continuous batching pipeline, step by step.

The pipeline batches, pages and samples; what is computed when is decided here, in front of it: who
gets a place (line.py), which parts of which prompts a step reads (plan.py), and what of a prompt is
there already (blocks.py, which is also what makes the counts exact).
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import openvino
import openvino_genai as genai

from haneul.base.errors import (
    BadRequest,
    ContextTooLong,
    EngineFailed,
    NotEnoughMemory,
    NotFound,
    UnsupportedValue,
)
from haneul.base.gguf import Header
from haneul.base.gguf_parts import check_files
from haneul.engine.kernel import Facts, ScoredToken
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.vocabulary import Vocabulary
from haneul.engine.openvino.blocks import BLOCK_TOKENS, Blocks, Sequence
from haneul.engine.openvino.grammar import structural_tag
from haneul.engine.openvino.grammar_check import GrammarCheck
from haneul.engine.openvino.line import Line, Waiting
from haneul.engine.openvino.pace import Pace
from haneul.engine.openvino.pipeline import (
    DRAFT_TOKENS,
    SMOKE_TEXT,
    Settings,
    as_input,
    block_count,
    check_sanity,
    open_pipeline,
    step_tokens,
)
from haneul.engine.openvino.plan import Part, Planner
from haneul.engine.openvino.readable import Measures, measures
from haneul.engine.openvino.sampling import LACKS, LACKS_CALLS, settings, slice_settings
from haneul.engine.worker.job import Job, Loaded, Step, WorkerSpec

FIRST_READ_TOKENS = 64
_IGNORED = genai.GenerationStatus.IGNORED
_STOP = genai.GenerationFinishReason.STOP
_LENGTH = genai.GenerationFinishReason.LENGTH


class Run:
    """A job that has a place."""

    def __init__(self, waiting: Waiting, wanted: genai.GenerationConfig) -> None:
        self.number = waiting.number
        self.job = waiting.job
        self.priority = waiting.job.priority
        self.since = waiting.since
        self.sequence = Sequence(list(waiting.prompt))
        self.wanted = wanted
        self.computed = 0  # tokens of the prompt that were computed for it
        self.is_writing = False
        self.written = 0

    @property
    def cached(self) -> int:
        return max(0, self.sequence.prompt_tokens - self.computed)


class Request:
    """One request of the pipeline: a job's last part with its answer, or an earlier part."""

    def __init__(self, handle: Any, sequence: Sequence, run: Run | None) -> None:
        self.handle = handle
        self.sequence = sequence
        self.run = run  # None: a part of a prompt, or a job that is cancelled
        self.is_read = False
        self.is_over = False


class OpenvinoStepper:
    """One model in one pipeline. Implements Stepper."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._settings = Settings(spec.options)
        self._drafts = DRAFT_TOKENS if self._settings.has_lookup else 0
        self._pipeline: Any = None
        self._vocabulary: Vocabulary
        self._measures: Measures
        self._blocks: Blocks
        self._pace: Pace
        self._planner: Planner
        self._line = Line()
        self._wanted: dict[int, genai.GenerationConfig] = {}
        self._runs: dict[int, Run] = {}
        self._requests: dict[int, Request] = {}  # by the pipeline's number, in its order
        self._next_request = 1000
        self._grammars = GrammarCheck()
        self._counts: Counter[str] = Counter()
        self._longest_s = 0.0

    def load(self) -> Loaded:
        header = check_files(self._spec.file)
        found = self._measures = measures(header)
        self._vocabulary = Vocabulary.open(open_library(), Path(self._spec.file))
        self._pipeline = open_pipeline(self._spec, self._settings, header, found)
        self._blocks = Blocks(block_count(self._spec))
        self._pace = Pace(even_depth_tokens=found.even_depth_tokens)
        self._planner = Planner(
            self._blocks, self._pace, step_tokens=step_tokens(self._spec, self._settings)
        )
        self._try_out()
        template = header.metadata.get("tokenizer.chat_template")
        return Loaded(
            facts=self._facts(header),
            kernel=f"OpenVINO {openvino.__version__.partition('-')[0]}"
            f" (GenAI {genai.__version__.partition('-')[0]})",
            lacks=[*LACKS, *LACKS_CALLS, *(["constraint"] if self._drafts else [])],
            bos=self._vocabulary.bos,
            eos=self._vocabulary.eos,
            template=template if isinstance(template, str) else None,
        )

    def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        return self._vocabulary.tokenise(text, with_special=with_special)

    def detokenise(self, tokens: list[int]) -> str:
        return self._vocabulary.detokenise(tokens)

    def begin(self, number: int, job: Job, prompt: list[int]) -> None:
        room = self._spec.context_tokens - len(prompt)
        if room <= 0:
            raise ContextTooLong(
                f"The prompt has {len(prompt)} tokens; the context holds"
                f" {self._spec.context_tokens}, the answer included."
            )
        if not prompt:
            raise BadRequest("The prompt is empty.")
        if not all(0 <= token < self._measures.rows for token in prompt):
            raise BadRequest("The prompt has a token that the vocabulary does not have.")
        _check_honoured(job)
        if job.constraint is not None and self._drafts:
            raise UnsupportedValue("With prompt lookup no form can be kept.", param="lookup")
        if job.constraint is not None:
            self._grammars.check(structural_tag(job.constraint))
        wanted = settings(
            job,
            max_tokens=min(room, job.max_tokens or room),
            ends=self._vocabulary.ends,
            draft_tokens=self._drafts,
        )
        try:
            wanted.validate()
        except RuntimeError as cause:
            raise UnsupportedValue("OpenVINO does not take these sampling values.") from cause
        self._line.add(number, job, prompt)
        self._wanted[number] = wanted

    def cancel(self, number: int) -> None:
        self._line.remove(number)
        self._wanted.pop(number, None)
        if self._runs.pop(number, None) is None:
            return
        for request in self._requests.values():
            if request.run is not None and request.run.number == number:
                request.handle.stop()
                request.run = None
                request.is_over = True

    @property
    def is_idle(self) -> bool:
        return not (self._runs or self._requests or self._line)

    def step(self) -> list[tuple[int, Step | Exception]]:
        self._give_places()
        writing = [one for one in self._requests.values() if one.is_read and not one.is_over]
        reading = [run for run in self._runs.values() if not run.is_writing]
        if self._drafts:  # the pipeline itself cuts prompts and caches nothing
            parts = [Part(run.number, 0, run.sequence.prompt_tokens, True) for run in reading]
        else:
            parts = self._planner.parts(list(reading), writers=len(writing))
            for request in writing:
                self._blocks.write(request.sequence)
        for part in parts:
            self._read(part)
        started = time.monotonic()
        try:
            self._pipeline.step()
        except RuntimeError as error:
            return self._fail(error)
        self._learn(parts, len(writing), time.monotonic() - started)
        return self._collect()

    def call(self, what: str, value: Any) -> Any:
        if what == "counters":
            return self._counters()
        raise NotFound(f"This kernel cannot {what}.")

    def _give_places(self) -> None:
        while len(self._runs) < self._spec.slots and (waiting := self._line.next()):
            run = Run(waiting, self._wanted.pop(waiting.number))
            self._runs[run.number] = run
            self._line.had(run.job.owner, run.sequence.prompt_tokens + run.wanted.max_new_tokens)

    def _read(self, part: Part) -> None:
        """A part of a prompt becomes a request of the pipeline."""
        run = self._runs[part.number]
        if part.is_last:
            sequence, wanted = run.sequence, run.wanted
            run.is_writing = True
        else:
            sequence = Sequence(run.sequence.tokens[: part.end])
            wanted = slice_settings(draft_tokens=self._drafts)
        handle = self._pipeline.add_request(self._next_request, as_input(sequence.tokens), wanted)
        found = 0
        if not self._drafts:
            found = self._blocks.take(sequence)
            self._blocks.read(sequence)
        run.computed += part.end - found
        self._counts["read"] += part.end - found
        self._requests[self._next_request] = Request(
            handle, sequence, run if part.is_last else None
        )
        self._next_request += 1

    def _learn(self, parts: list[Part], writers: int, seconds: float) -> None:
        tokens = sum(part.end - part.start for part in parts)
        depth = sum((part.start + part.end) / 2 * (part.end - part.start) for part in parts)
        self._pace.saw(
            writers=writers, tokens=tokens, depth=depth / max(tokens, 1), seconds=seconds
        )
        self._counts["steps"] += 1
        self._longest_s = max(self._longest_s, seconds)

    def _collect(self) -> list[tuple[int, Step | Exception]]:
        results: list[tuple[int, Step | Exception]] = []
        for request in self._requests.values():
            request.is_read = True
            if request.run is None:
                request.is_over = True  # a part is done in one step; one that is stopped is freed
            elif request.handle.get_status() == _IGNORED:
                results.append((request.run.number, NotEnoughMemory()))
                request.is_over = True
            elif (step := self._said(request, request.run)) is not None:
                results.append((request.run.number, step))
                request.is_over = step.finish_reason is not None
        for number, request in list(self._requests.items()):
            if request.is_over:
                del self._requests[number]
                self._blocks.drop(request.sequence)
                if request.run is not None:
                    del self._runs[request.run.number]
        return results

    def _said(self, request: Request, run: Run) -> Step | None:
        """What one sequence wrote in this step, if anything."""
        tokens: list[int] = []
        logprobs: list[float] = []
        reason = None
        while request.handle.can_read():
            for output in request.handle.read().values():
                tokens += output.generated_ids
                logprobs += output.generated_log_probs
                reason = output.finish_reason
        if not tokens:
            return None
        request.sequence.tokens += tokens
        run.written += len(tokens)
        self._counts["written"] += len(tokens)
        if run.written == len(tokens):
            self._counts["prompt"] += run.sequence.prompt_tokens
            self._counts["cached"] += run.cached
        has_stopped = reason == _STOP
        shown = tokens[:-1] if has_stopped else tokens
        pieces = [self._vocabulary.piece(token, run.job.marks) for token in shown]
        scores = []
        if run.job.logprobs is not None:
            scores = [
                ScoredToken(data.decode(errors="replace"), list(data), logprob)
                for data, logprob in zip(pieces, logprobs, strict=False)
            ]
        return Step(
            data=b"".join(pieces),
            scores=scores,
            finish_reason="stop" if has_stopped else "length" if reason == _LENGTH else None,
            prompt_tokens=run.sequence.prompt_tokens,
            cached_tokens=run.cached,
            completion_tokens=run.written,
        )

    def _fail(self, error: RuntimeError) -> list[tuple[int, Step | Exception]]:
        """A step broke: all that ran in it ends, and the pipeline is emptied to go on.

        Raises the error again when the pipeline stays broken: then the process has to end.
        """
        failed: list[tuple[int, Step | Exception]] = [
            (number, EngineFailed("The kernel failed at a step.")) for number in self._runs
        ]
        print(f"openvino: a step failed: {error}", flush=True)
        for request in self._requests.values():
            request.handle.stop()
            self._blocks.drop(request.sequence)
        self._runs.clear()
        self._requests.clear()
        self._pipeline.step()
        if self._pipeline.has_non_finished_requests():
            raise error
        return failed

    def _try_out(self) -> None:
        """Reads a sentence and some tokens: for sanity, and for a first idea of the pace."""
        tokens = self._vocabulary.tokenise(SMOKE_TEXT, with_special=True)
        check_sanity(self._pipeline, tokens, rows=self._measures.rows, draft_tokens=self._drafts)
        self._mirror_try(tokens)
        for first in range(2):  # once for the kernel to get ready, once for the clock
            some = [(7 * place + first) % self._vocabulary.size for place in range(1, 65)]
            started = time.monotonic()
            self._pipeline.add_request(
                first, as_input(some), slice_settings(draft_tokens=self._drafts)
            )
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
            seconds = time.monotonic() - started
            self._mirror_try(some)
        self._pace.saw(writers=0, tokens=FIRST_READ_TOKENS, depth=32, seconds=seconds)

    def _mirror_try(self, tokens: list[int]) -> None:
        if self._drafts:
            return
        sequence = Sequence(list(tokens))
        self._blocks.take(sequence)
        self._blocks.read(sequence)
        self._blocks.drop(sequence)

    def _facts(self, header: Header) -> Facts:
        template = header.metadata.get("tokenizer.chat_template")
        return Facts(
            context_tokens=self._spec.context_tokens,
            trained_context_tokens=self._measures.trained_context_tokens,
            vocabulary=self._vocabulary.size,
            width=self._measures.width,
            parameters=self._measures.parameters,
            size_bytes=header.file_bytes,
            has_tools=isinstance(template, str) and "tools" in template,
        )

    def _held_blocks(self) -> float:
        if not self._drafts:
            return self._blocks.held
        if not self._requests:
            return 0.0
        return float(self._pipeline.get_metrics().cache_usage) / 100 * self._blocks.total

    def _counters(self) -> dict[str, float]:
        """By llama-server's names, which the front knows."""
        longest, self._longest_s = self._longest_s, 0.0
        return {
            "prompt_tokens_total": float(self._counts["read"]),
            "prompt_tokens_cached_total": float(self._counts["cached"]),
            "tokens_predicted_total": float(self._counts["written"]),
            "requests_processing": float(len(self._runs)),
            "requests_deferred": float(len(self._line)),
            "kv_cells": float(self._blocks.total * BLOCK_TOKENS),
            "kv_cells_used": float(self._held_blocks() * BLOCK_TOKENS),
            "steps_total": float(self._counts["steps"]),
            "step_seconds_max": longest,
        }


def _check_honoured(job: Job) -> None:
    """Raises UnsupportedValue: a field that would be dropped in silence is refused by name."""
    if job.biases:
        raise UnsupportedValue("This kernel has no logit biases.", param="logit_bias")
    if job.adapter:
        raise UnsupportedValue("This kernel has no adapters per request.", param="model")
    if job.logprobs:
        raise UnsupportedValue(
            "This kernel gives no alternatives beside a token.", param="top_logprobs"
        )
    if job.repeat_penalty != 1.0:
        raise UnsupportedValue("This kernel has no such penalty.", param="repeat_penalty")
