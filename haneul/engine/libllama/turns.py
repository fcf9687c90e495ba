"""Whose turn it is: by urgency, by what each owner has had, and by how long one has waited."""

from __future__ import annotations

from collections.abc import Iterable

from haneul.engine.libllama.tasks import Task

AGING_S = 20.0  # after so long a wait a task counts as one class more urgent
READING_AGING = 0.5  # a second waited weighs as much as half a second less to read
CLASS_S = 2.0  # a class less urgent weighs as much as two seconds more to read
OWNER_MOST_S = 5.0  # what an owner has had more than others weighs no more than that


class Turns:
    """Tokens served to each owner, in virtual time, and the orders that follow from it."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}

    def arrive(self, task: Task, present: Iterable[Task]) -> None:
        """An owner who was away saves nothing up: it starts where the least served one stands."""
        owners = {other.owner for other in present}
        self._served = {owner: self._served.get(owner, 0.0) for owner in owners}
        least = min(self._served.values(), default=0.0)
        self._served.setdefault(task.owner, least)

    def serve(self, task: Task, tokens: int) -> None:
        self._served[task.owner] = self._served.get(task.owner, 0.0) + tokens

    def level(self, task: Task, now_s: float) -> int:
        """The class of a task now: its priority, less one for each long wait; -1 goes first."""
        waited = int(max(0.0, now_s - task.arrived_s) / AGING_S)
        return max(-1, task.priority - waited)

    def to_begin(self, task: Task, now_s: float) -> tuple[int, float, float]:
        """The order in which waiting tasks begin, the least first."""
        level = self.level(task, now_s)
        served = self._served.get(task.owner, 0.0) if level >= 0 else 0.0
        return level, served, task.arrived_s

    def to_read(self, task: Task, now_s: float, token_s: float) -> float:
        """The order in which prompts are read, the least first: the quickest, with aging.

        Waiting counts without bound and everything else is bounded, so nobody waits for ever.
        """
        ahead = self._served.get(task.owner, 0.0) - min(self._served.values(), default=0.0)
        owed_s = min(OWNER_MOST_S, ahead * token_s)
        waited_s = now_s - task.arrived_s
        urgency_s = CLASS_S * task.priority
        return task.pending * token_s + owed_s + urgency_s - READING_AGING * waited_s
