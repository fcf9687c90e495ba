"""All answers of one model: what each step computes becomes tokens, and tokens become bytes."""

from __future__ import annotations

import time
from pathlib import Path

from haneul.base.errors import EngineFailed
from haneul.engine.kernel import ScoredToken
from haneul.engine.libllama.constraint import Guide
from haneul.engine.libllama.context import Context, Rows
from haneul.engine.libllama.crew import Crew
from haneul.engine.libllama.lookup import Lookup
from haneul.engine.libllama.model import Model
from haneul.engine.libllama.sampling import Chooser, score
from haneul.engine.libllama.scheduler import Scheduler
from haneul.engine.libllama.tasks import Part, Task
from haneul.engine.worker.job import Job, Step

Result = tuple[int, Step | Exception]


class Answer:
    """What one task has besides its tokens."""

    def __init__(self, job: Job, task: Task, chooser: Chooser, guide: Guide | None) -> None:
        self.job = job
        self.task = task
        self.chooser = chooser
        self.guide = guide
        self.lookup = Lookup()
        self.marks = frozenset(job.marks)
        self.finish_reason: str | None = None


class Answers:
    """Answers from `add` to their last Step. One thread uses it."""

    def __init__(
        self,
        model: Model,
        context: Context,
        scheduler: Scheduler,
        *,
        adapters: dict[str, str],
        draft_rows: int,
        crew: Crew,
    ) -> None:
        self._model = model
        self._vocabulary = model.vocabulary
        self._context = context
        self._scheduler = scheduler
        self._adapters = adapters
        self._draft_rows = draft_rows
        self._crew = crew
        self._paces = {crew.threads: scheduler.pace}
        self._answers: dict[int, Answer] = {}
        names = ["prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total"]
        names += ["drafted_tokens_total", "accepted_tokens_total", "steps_total"]
        self._counts: dict[str, float] = dict.fromkeys([*names, "step_seconds_max"], 0)

    @property
    def is_idle(self) -> bool:
        return not self._answers

    def add(self, answer: Answer) -> None:
        self._answers[answer.task.number] = answer
        self._scheduler.add(answer.task)

    def cancel(self, number: int) -> None:
        """Ends an answer that nobody waits for; its place is free at once."""
        if answer := self._answers.pop(number, None):
            self._end(answer)

    def step(self) -> list[Result]:
        """Computes one step and says what came of it."""
        self._man()
        began, began_busy = time.monotonic(), time.process_time()
        self._guess()
        parts = self._scheduler.plan(began)
        if not parts:
            return []
        try:
            rows = self._compute(parts)
        except RuntimeError as cause:
            return self._fail_all(cause)
        took_s = time.monotonic() - began
        # where others have the processor too, what this one used of it tells the cost
        used_s = (time.process_time() - began_busy) / self._crew.threads
        self._scheduler.done(parts, min(took_s, used_s))
        results = self._take(parts, rows)
        self._counts["steps_total"] += 1
        took_s = time.monotonic() - began
        self._counts["step_seconds_max"] = max(self._counts["step_seconds_max"], took_s)
        return results

    def counters(self) -> dict[str, float]:
        """The kernel's counts, under llama-server's names where it has them."""
        scheduler = self._scheduler
        return {
            **self._counts,
            "requests_processing": len(scheduler.running),
            "threads": self._crew.threads,
            "requests_deferred": len(scheduler.waiting),
            "kv_cells": scheduler.pool.capacity,
            "kv_cells_used": scheduler.pool.used,
            "kv_cells_live": scheduler.pool.live,
        }

    def _man(self) -> None:
        """Takes as many threads as have a processor; each number has a pace of its own."""
        before = self._crew.threads
        threads = self._crew.look()
        if threads == before:
            return
        if threads not in self._paces:
            self._paces[threads] = self._scheduler.pace.slowed(before / threads)
        self._scheduler.pace = self._paces[threads]
        self._context.use_threads(threads)

    def _compute(self, parts: list[Part]) -> Rows:
        name = parts[0].task.adapter
        handle = self._model.adapter(name, Path(self._adapters[name])) if name else None
        self._context.use_adapter(name, handle)
        return self._context.compute(parts)

    def _guess(self) -> None:
        """Lets answers guess ahead, where that pays with so many at once."""
        writing = [task for task in self._scheduler.running if task.is_writing]
        left = self._draft_rows
        for task in writing:
            task.drafts = []
            answer = self._answers[task.number]
            if left <= 0 or answer.guide is not None:
                continue
            task.drafts = answer.lookup.guess(
                task.tokens,
                pace=self._scheduler.pace,
                sharers=len(writing),
                most=min(left, task.most - len(task.tokens) - 1),
            )
            left -= len(task.drafts)

    def _take(self, parts: list[Part], rows: Rows) -> list[Result]:
        """The tokens that follow from a step's rows."""
        wanted = [part for part in parts if part.rows]
        plain = all(self._answers[part.task.number].chooser.is_plain for part in wanted)
        best = rows.argmax(axis=1).tolist() if plain and len(rows) else None
        results: list[Result] = []
        first = 0
        for part in wanted:
            answer = self._answers[part.task.number]
            mine = slice(first, first + part.rows)
            first += part.rows
            try:
                step = self._advance(answer, part, rows[mine], best[mine] if best else None)
            except EngineFailed as error:
                results.append((part.task.number, error))
                answer.finish_reason = "error"
            else:
                results.append((part.task.number, step))
            if answer.finish_reason:
                del self._answers[part.task.number]
                self._end(answer)
        return results

    def _advance(self, answer: Answer, part: Part, rows: Rows, best: list[int] | None) -> Step:
        """Takes the token after each computed one, as long as the guesses come true."""
        task, vocabulary = answer.task, self._vocabulary
        data: list[bytes] = []
        scores: list[ScoredToken] = []
        drafts, task.drafts = task.drafts, []
        before = len(task.tokens)
        for place, row in enumerate(rows):
            if best is not None and answer.guide is None:
                token = best[place]
            else:
                seen = row.copy() if answer.job.logprobs is not None else row
                token = answer.chooser.next(seen, answer.guide)
            if answer.job.logprobs is not None and not vocabulary.is_end(token):
                scores.append(score(row, token, answer.job.logprobs, vocabulary))
            self._accept(answer, token, data)
            if answer.finish_reason or place == len(drafts) or drafts[place] != token:
                break
        if drafts:
            came_true = len(task.tokens) - before - 1
            answer.lookup.learn(len(drafts), came_true, len(task.tokens))
            self._counts["drafted_tokens_total"] += len(drafts)
            self._counts["accepted_tokens_total"] += came_true
            self._scheduler.keep(task, len(task.tokens) - 1)
        return Step(
            data=b"".join(data),
            scores=scores,
            finish_reason=answer.finish_reason,
            prompt_tokens=task.prompt_tokens,
            cached_tokens=task.cached,
            completion_tokens=task.answer_tokens,
        )

    def _accept(self, answer: Answer, token: int, data: list[bytes]) -> None:
        """Takes a token in, and those that its grammar says must follow."""
        task = answer.task
        self._scheduler.push(task, token)
        answer.chooser.accept(token)
        if self._vocabulary.is_end(token):
            answer.finish_reason = "stop"
            return
        data.append(self._vocabulary.piece(token, answer.marks))
        forced: list[int] = []
        if answer.guide is not None:
            forced = answer.guide.accept(token, is_forcing=answer.job.logprobs is None)
        room = task.most - len(task.tokens)
        for known in forced[:room]:
            self._scheduler.push(task, known)
            answer.chooser.accept(known)
            data.append(self._vocabulary.piece(known, answer.marks))
        if answer.guide is not None and answer.guide.is_over and len(forced) <= room:
            answer.finish_reason = "stop"
        elif len(task.tokens) >= task.most:
            answer.finish_reason = "length"

    def _end(self, answer: Answer) -> None:
        task = answer.task
        self._scheduler.end(task)
        if task.cached >= 0:
            self._counts["prompt_tokens_total"] += task.prompt_tokens - task.cached
            self._counts["prompt_tokens_cached_total"] += task.cached
            self._counts["tokens_predicted_total"] += task.answer_tokens

    def _fail_all(self, cause: Exception) -> list[Result]:
        """The library failed in the middle of a step: what it remembers is worth nothing now."""
        failed = [answer for answer in self._answers.values() if answer.task.line is not None]
        for answer in failed:
            del self._answers[answer.task.number]
            self._end(answer)
        self._scheduler.forget()
        return [(answer.task.number, EngineFailed(str(cause))) for answer in failed]
