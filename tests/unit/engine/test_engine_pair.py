"""Which of two kernels answers: by how many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from haneul.base.wire import CompletionRequest
from haneul.engine import pair
from haneul.engine.kernel import Facts, Piece, Terms
from haneul.engine.pair import Pair
from haneul.engine.worker.stepper import CannotServe

FACTS = Facts(
    context_tokens=64,
    trained_context_tokens=64,
    vocabulary=9,
    width=4,
    parameters=1,
    size_bytes=1,
    has_tools=False,
)
ASKED = CompletionRequest(model="m", prompt="x")


class Counted:
    """A kernel that answers when it is told to, and counts."""

    def __init__(self, name: str, *, refuses: bool = False) -> None:
        self.name = name
        self.go = asyncio.Event()
        self.inside = self.most = self.answered = 0
        self.is_closed = False
        self.end = asyncio.Event()
        self._refuses = refuses

    async def start(self) -> Facts:
        if self._refuses:
            raise CannotServe("not this one")
        return FACTS

    async def died(self) -> str:
        await self.end.wait()
        return "told to"

    async def complete(self, prompt, request, terms) -> AsyncGenerator[Piece, None]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.go.wait()
            self.answered += 1
            yield Piece(prompt_tokens=1, cached_tokens=0, completion_tokens=1, text=self.name)
        finally:
            self.inside -= 1

    async def counters(self) -> dict[str, float]:
        return {"steps_total": 2.0, "step_seconds_max": 0.5 if self.name == "many" else 0.25}

    async def close(self) -> None:
        self.is_closed = True


async def open_pair(many: Counted, *, many_from: int = 3) -> tuple[Pair, Counted]:
    alone = Counted("alone")
    both = Pair(alone, lambda: many, many_from=many_from)
    await both.start()
    await asyncio.sleep(pair.QUIET_S + 0.2)
    return both, alone


async def ask(both: Pair) -> str:
    return "".join([piece.text async for piece in both.complete("x", ASKED, Terms())])


async def test_few_are_answered_by_the_one_and_many_at_once_by_the_other():
    many = Counted("many")
    both, alone = await open_pair(many)
    alone.go.set()
    assert await ask(both) == "alone"
    assert set(await asyncio.gather(*(ask(both) for _ in range(2)))) == {"alone"}
    crowd = [asyncio.create_task(ask(both)) for _ in range(8)]
    await asyncio.sleep(0.05)
    many.go.set()
    assert await asyncio.gather(*crowd) == ["many"] * 8
    assert await ask(both) == "alone"
    await both.close()


async def test_who_comes_while_many_are_answered_joins_them():
    many = Counted("many")
    both, _ = await open_pair(many)
    first = [asyncio.create_task(ask(both)) for _ in range(3)]
    await asyncio.sleep(0.05)
    late = asyncio.create_task(ask(both))
    await asyncio.sleep(0.05)
    assert many.inside == 4
    many.go.set()
    assert await asyncio.gather(*first, late) == ["many"] * 4
    await both.close()


async def test_what_runs_already_counts_for_who_comes():
    many = Counted("many")
    both, alone = await open_pair(many)
    running = [asyncio.create_task(ask(both)) for _ in range(2)]
    await asyncio.sleep(0.05)
    third = asyncio.create_task(ask(both))
    await asyncio.sleep(0.05)
    assert (alone.inside, many.inside) == (2, 1)
    alone.go.set()
    many.go.set()
    assert await asyncio.gather(*running, third) == ["alone", "alone", "many"]
    await both.close()


async def test_one_kernel_answers_all_where_the_other_cannot_serve():
    both, alone = await open_pair(Counted("many", refuses=True))
    alone.go.set()
    assert await asyncio.gather(*(ask(both) for _ in range(5))) == ["alone"] * 5
    await both.close()


async def test_a_kernel_for_many_that_died_is_asked_no_more():
    many = Counted("many")
    both, alone = await open_pair(many)
    alone.go.set()
    many.end.set()
    await asyncio.sleep(0.05)
    assert many.is_closed
    assert await asyncio.gather(*(ask(both) for _ in range(5))) == ["alone"] * 5
    await both.close()


async def test_an_answer_nobody_waits_for_gives_its_place_back():
    many = Counted("many")
    both, alone = await open_pair(many)
    given_up = asyncio.create_task(ask(both))
    await asyncio.sleep(0.05)
    assert alone.inside == 1
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert alone.inside == 0
    await both.close()


async def test_counts_are_of_both_and_a_maximum_is_the_larger():
    both, _ = await open_pair(Counted("many"))
    assert await both.counters() == {"steps_total": 4.0, "step_seconds_max": 0.5}
    await both.close()
