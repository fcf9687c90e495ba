"""What a step of the OpenVINO kernel reads: bounded, shared once, in a fair order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import Overloaded
from haneul.engine.openvino.blocks import BLOCK_TOKENS, Blocks, Sequence
from haneul.engine.openvino.line import AGING_S, LINE_MAX, Line
from haneul.engine.openvino.pace import LEAST_TOKENS, Pace
from haneul.engine.openvino.plan import BESIDE_S, Part, Planner
from haneul.engine.worker.job import BATCH, INTERACTIVE, Job


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Prompt:
    def __init__(self, number: int, tokens: list[int], since: float = 0.0, priority: int = 0):
        self.number = number
        self.sequence = Sequence(tokens)
        self.since = since
        self.priority = priority


def machine(token_s: float = 0.001, **more: Any) -> tuple[Blocks, Pace, Planner]:
    """A machine that reads a token in that time."""
    blocks, pace = Blocks(10_000), Pace(even_depth_tokens=1e9)
    for _ in range(7):
        pace.saw(writers=0, tokens=100, depth=0, seconds=100 * token_s)
        pace.saw(writers=4, tokens=0, depth=0, seconds=0.02)
    return blocks, pace, Planner(blocks, pace, step_tokens=2048, **more)


def compute(blocks: Blocks, prompts: list[Prompt], parts: list[Part]) -> list[int]:
    """Does what the parts say. The numbers of the prompts that are read to their end."""
    taken = []
    for part in parts:
        prompt = next(one for one in prompts if one.number == part.number)
        sequence = Sequence(prompt.sequence.tokens[: part.end])
        blocks.take(sequence)
        taken.append(sequence)
    for sequence in taken:
        blocks.read(sequence)
    for sequence in taken:
        blocks.drop(sequence)
    return [part.number for part in parts if part.is_last]


def test_long_prompt_is_read_in_parts_that_keep_to_the_time_beside_writers():
    _, pace, planner = machine()
    (part,) = planner.parts([Prompt(1, list(range(4000)))], writers=4)
    assert not part.is_last
    assert part.end % BLOCK_TOKENS == 0
    took_s = pace.writing_s(4) + pace.reading_s(depth=0, tokens=part.end)
    assert BESIDE_S / 2 < took_s <= BESIDE_S + 0.001


def test_followers_of_a_cold_beginning_wait_for_its_leader_and_then_take_it_over():
    blocks, _, planner = machine(token_s=0.0001)
    shared = list(range(800))
    prompts = [Prompt(number, shared + [number] * 32) for number in range(8)]
    first = planner.parts(list(prompts), writers=0)
    assert [part.number for part in first] == [0]
    compute(blocks, prompts, first)
    second = planner.parts(list(prompts[1:]), writers=1)
    assert [part.number for part in second] == list(range(1, 8))
    assert all(part.start == 800 and part.is_last for part in second)


def test_followers_go_on_alone_when_their_leader_is_gone():
    _, _, planner = machine()
    shared = list(range(800))
    (leader, follower) = [Prompt(number, [*shared, number]) for number in range(2)]
    assert [part.number for part in planner.parts([leader, follower], writers=0)] == [0]
    assert [part.number for part in planner.parts([follower], writers=0)] == [1]


def test_two_prompts_never_take_over_the_same_partly_filled_block_in_one_step():
    blocks, _, planner = machine()
    base = list(range(100))  # three blocks, and four tokens of a fourth
    compute(blocks, [Prompt(9, base)], [Part(9, 0, 100, True)])
    prompts = [Prompt(1, [*base, 5, 6, 7]), Prompt(2, [*base, 8, 9])]
    parts = planner.parts(list(prompts), writers=0)
    assert len(parts) == 1
    assert parts[0].start == 100


def test_short_prompt_is_not_kept_waiting_by_a_long_one_until_that_is_old():
    clock = Clock()
    _, _, planner = machine(clock=clock)
    long, short = Prompt(1, list(range(4000))), Prompt(2, list(range(5000, 5050)))
    assert planner.parts([long, short], writers=0)[0].number == 2
    clock.now = AGING_S + 1
    assert planner.parts([long, Prompt(3, [7] * 50, since=clock.now)], writers=0)[0].number == 1


@given(
    lengths=st.lists(st.integers(1, 600), min_size=1, max_size=6),
    shared=st.integers(0, 300),
    token_s=st.floats(1e-5, 0.02),
)
def test_every_prompt_comes_to_its_end(lengths: list[int], shared: int, token_s: float):
    blocks, _, planner = machine(token_s=token_s)
    open_ = [
        Prompt(number, [*range(shared), *[1000 + number] * length])
        for number, length in enumerate(lengths)
    ]
    for _ in range(400):
        if not open_:
            break
        parts = planner.parts(list(open_), writers=0)
        assert parts, "a step that reads nothing"
        done = compute(blocks, open_, parts)
        open_ = [prompt for prompt in open_ if prompt.number not in done]
    assert not open_


def test_pace_believes_the_middle_of_what_it_saw_and_not_one_long_step():
    pace = Pace(even_depth_tokens=1e9)
    for seconds in (0.1, 0.1, 5.0, 0.1, 0.1):
        pace.saw(writers=0, tokens=100, depth=0, seconds=seconds)
    assert 190 <= pace.room(depth=0, seconds=0.2) <= 210


def test_deep_tokens_are_dearer():
    pace = Pace(even_depth_tokens=2000)
    pace.saw(writers=0, tokens=500, depth=0, seconds=0.1)
    assert pace.room(depth=4000, seconds=0.2) < pace.room(depth=0, seconds=0.2) / 2
    assert pace.room(depth=0, seconds=-1) == LEAST_TOKENS


def test_line_lets_the_more_urgent_go_first_and_nobody_wait_for_ever():
    clock = Clock()
    line = Line(clock)
    line.add(1, Job(prompt="", priority=BATCH), [1])
    clock.now = 1.0
    line.add(2, Job(prompt="", priority=INTERACTIVE), [1])
    clock.now = AGING_S + 0.5  # the first has waited long enough, the second has not
    first = line.next()
    assert first is not None
    assert first.number == 1


def test_line_lets_whoever_had_least_go_first():
    line = Line(Clock())
    line.add(1, Job(prompt="", owner="busy"), [1])
    line.add(2, Job(prompt="", owner="calm"), [1])
    line.had("busy", 1000)
    first = line.next()
    assert first is not None
    assert first.number == 2


def test_newcomer_starts_level_and_not_before_everybody():
    line = Line(Clock())
    line.add(1, Job(prompt="", owner="old"), [1])
    line.had("old", 1000)
    line.add(2, Job(prompt="", owner="new"), [1])
    first = line.next()
    assert first is not None
    assert first.number == 1


def test_full_line_refuses():
    line = Line(Clock())
    for number in range(LINE_MAX):
        line.add(number, Job(prompt=""), [1])
    with pytest.raises(Overloaded):
        line.add(LINE_MAX, Job(prompt=""), [1])
