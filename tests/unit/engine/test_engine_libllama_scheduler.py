"""The own scheduler over a memory that only remembers, and a clock that a test moves."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.engine.libllama.pace import Pace
from haneul.engine.libllama.pool import Pool, common
from haneul.engine.libllama.scheduler import STEP_S, WORTH_COPYING, WORTH_WAITING, Scheduler
from haneul.engine.libllama.tasks import Task
from haneul.engine.libllama.turns import AGING_S

PLACES = 4


class Remembering:
    """A memory that keeps the tokens of each line, as the library keeps their cells."""

    def __init__(self):
        self.lines = {}
        self.copied = 0

    def copy(self, source, target, length):
        assert not self.lines.get(target.number), "the target must be empty"
        assert length <= len(self.lines[source.number]), "what is shared must be computed"
        self.lines[target.number] = self.lines[source.number][:length]
        self.copied += length

    def swap(self, line, number):
        held = self.lines.get(line.number, [])
        self.lines[line.number], self.lines[number] = self.lines.get(number, []), held

    def cut(self, line, length):
        self.lines[line.number] = self.lines.get(line.number, [])[:length]


class Machine:
    """A scheduler with everything around it; a step takes 10 ms and 5 ms a token of its clock."""

    def __init__(self, *, cells=400, lines=12, room=None, rest_cells=400, token_s=0.005):
        self.memory = Remembering()
        self.places = min(PLACES, lines)
        self.pool = Pool(cells=cells if room is None else lines * room, lines=lines, room=room)
        self.scheduler = Scheduler(
            self.memory,
            self.pool,
            Pace(fixed_s=0.01, token_s=token_s),
            places=self.places,
            rest_cells=rest_cells,
            batch_tokens=512,
        )
        self.now_s = 0.0
        self.computed = 0
        self.token_s = token_s
        self.finished = {}
        self.tasks = []

    def ask(self, prompt, new=8, **more):
        number = len(self.tasks) + 1
        task = Task(number, list(prompt), most=len(prompt) + new, now_s=self.now_s, **more)
        self.tasks.append(task)
        self.scheduler.add(task)
        return task

    def step(self):
        parts = self.scheduler.plan(self.now_s)
        assert len({part.task.adapter for part in parts}) <= 1, "adapters share no step"
        for part in parts:
            held = self.memory.lines.setdefault(part.task.line.number, [])
            assert len(held) == part.position, "positions follow each other"
            held += part.tokens
            wanted = [*part.task.tokens, *part.task.drafts][: len(held)]
            assert held == wanted, "a line holds its task's tokens and no one else's"
        count = sum(len(part.tokens) for part in parts)
        took_s = 0.01 * bool(count) + count * self.token_s
        self.now_s += took_s or 0.001
        self.computed += count
        self.scheduler.done(parts, took_s)
        for part in parts:
            if part.rows:
                self.answer(part.task)
        self.check()
        return parts

    def answer(self, task):
        """One token comes of a row; of two guessed ones the first is true and the second false."""
        drafts, task.drafts = task.drafts, []
        self.scheduler.push(task, 1000 + task.answer_tokens)
        if drafts:
            self.scheduler.push(task, 1000 + task.answer_tokens)
            self.scheduler.keep(task, len(task.tokens) - 1)
        if len(task.tokens) >= task.most:
            self.end(task)
        elif task.number % 2 and task.most - len(task.tokens) > 2:
            task.drafts = [1000 + task.answer_tokens, -1]

    def end(self, task):
        self.scheduler.end(task)
        self.finished[task.number] = self.now_s - task.arrived_s

    def run(self, steps=10_000):
        for _ in range(steps):
            if not (self.scheduler.running or self.scheduler.waiting):
                return
            self.step()
        pytest.fail("it does not come to an end")

    def check(self):
        pool, distinct = self.pool, set()
        for line in pool.lines.values():
            distinct |= set(line.cells)
            assert len(line.cells) == len(set(line.cells))
            assert pool.room is None or len(line.cells) <= pool.room
            assert self.memory.lines.get(line.number, [])[: line.computed] == line.tokens
        live = {cell for line in pool.lines.values() if line.is_live for cell in line.cells}
        assert (pool.used, pool.live) == (len(distinct), len(live))
        assert pool.live <= pool.used <= pool.capacity
        assert len(self.scheduler.running) <= self.places
        if pool.room is None:
            growing = sum(task.most - task.computed for task in self.scheduler.running)
            assert pool.live + growing <= pool.capacity, "every running task could end"


@pytest.mark.parametrize("room", [None, 400])
def test_followers_of_a_cold_prefix_compute_only_their_own_end(room):
    machine = Machine(cells=2000, room=room)
    shared = list(range(200))
    for number in range(PLACES):
        machine.ask([*shared, 500 + number, 600 + number], new=2)
    machine.run()
    least = 200 + PLACES * (2 + 1)  # the last token of each is never computed
    assert least <= machine.computed <= least + (PLACES - 1) * WORTH_WAITING


def test_sequences_that_begin_alike_hold_the_cells_of_it_once():
    machine = Machine(cells=2000)
    for number in range(PLACES):
        machine.ask([*range(200), 500 + number], new=20)
    most = 0
    while machine.scheduler.running or machine.scheduler.waiting:
        machine.step()
        most = max(most, machine.pool.live)
    assert most <= 200 + PLACES * 24


@pytest.mark.parametrize("room", [None, 400])
def test_a_follower_reads_on_when_its_leader_leaves(room):
    machine = Machine(cells=2000, room=room)
    leader = machine.ask(range(300))
    machine.ask([*range(300), 7], new=2)
    machine.step()
    done = leader.computed
    assert WORTH_COPYING < done < 300
    machine.end(leader)
    before = machine.computed
    machine.run()
    assert machine.computed - before == 301 - done + 1


@pytest.mark.parametrize("room", [None, 100])
def test_a_finished_conversation_is_continued_without_a_copy(room):
    machine = Machine(room=room)
    first = machine.ask(range(50))
    machine.run()
    said = list(first.tokens)
    second = machine.ask([*said, 1, 2, 3])
    machine.run()
    assert second.cached == len(said) - 1  # the last token was chosen, but never computed
    assert machine.memory.copied == 0


def test_the_same_prompt_again_computes_one_token_of_it():
    machine = Machine()
    machine.ask(range(50))
    machine.run()
    again = machine.ask(range(50))
    machine.run()
    assert again.cached == 49


def test_what_one_adapter_computed_is_not_taken_for_another():
    machine = Machine(cells=2000)
    machine.ask(range(50), adapter="polite")
    machine.run()
    plain = machine.ask(range(50))
    polite = machine.ask(range(50), adapter="polite")
    machine.run()
    assert (plain.cached, polite.cached) == (0, 49)


def test_adapters_take_turns_step_by_step():
    machine = Machine(cells=2000)
    for name in ("", "one", "two"):
        machine.ask([7], new=40, adapter=name)
    machine.step()
    seen = [machine.step()[0].task.adapter for _ in range(30)]
    assert {name: seen.count(name) for name in seen} == {"": 10, "one": 10, "two": 10}


def test_streams_never_wait_longer_than_a_step_while_a_long_prompt_is_read():
    machine = Machine(cells=4000, token_s=0.003)
    writing = machine.ask(range(10), new=200)
    machine.step()
    machine.ask(range(5000, 7000), new=8)
    seen, longest_s = machine.now_s, 0.0
    while writing.number not in machine.finished:
        before = writing.answer_tokens
        machine.step()
        if writing.answer_tokens > before:
            longest_s, seen = max(longest_s, machine.now_s - seen), machine.now_s
    assert longest_s <= 1.3 * STEP_S


def test_a_short_prompt_does_not_wait_for_a_long_one():
    machine = Machine(cells=4000)
    long = machine.ask(range(5000, 7000))
    machine.step()
    short = machine.ask(range(20), new=1)
    for _ in range(3):
        machine.step()
    assert short.number in machine.finished
    assert long.number not in machine.finished


@pytest.mark.parametrize("priority", [0, 2])
def test_short_urgent_prompts_cannot_starve_a_long_one(priority):
    machine = Machine(cells=4000)
    long = machine.ask(range(5000, 6000), new=1, priority=priority, owner="one")
    for number in range(3000):
        if len(machine.scheduler.running) + len(machine.scheduler.waiting) < 2 * PLACES:
            machine.ask([10_000 + number] * 60, new=1, owner="other")
        machine.step()
        if long.number in machine.finished:
            break
    assert machine.finished[long.number] < 5 * AGING_S


def test_running_lines_become_neighbours_when_others_leave():
    machine = Machine(lines=8, room=400)
    machine.scheduler._places = machine.places = 8
    tasks = [machine.ask([number] * 20, new=200) for number in range(8)]
    while not all(task.is_writing for task in tasks):
        machine.step()
    for task in (tasks[1], tasks[4], tasks[6]):
        machine.end(task)
    for _ in range(4):
        machine.step()
    numbers = sorted(task.line.number for task in machine.scheduler.running)
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    machine.run()


def test_an_owner_with_many_requests_does_not_hold_up_one_with_few():
    machine = Machine(cells=4000)
    for number in range(40):
        machine.ask([number] * 50, new=30, owner="many")
    for _ in range(5):
        machine.step()
    few = machine.ask([777] * 50, new=30, owner="few")
    machine.run()
    later = [task for task in machine.tasks if task.owner == "many" and task.begun_s > few.begun_s]
    assert len(later) >= 30


def test_an_urgent_task_takes_the_place_of_one_that_has_time():
    machine = Machine(cells=4000)
    slow = [machine.ask([number] * 20, new=900, priority=2) for number in range(PLACES)]
    while machine.now_s < 2:
        machine.step()
    urgent = machine.ask([900] * 20, new=10)
    machine.run()
    assert machine.finished[urgent.number] < 1.5
    assert all(task.number in machine.finished for task in slow)


def test_a_task_waits_until_it_could_run_to_its_end():
    machine = Machine(cells=100)
    first = machine.ask(range(40), new=20)
    second = machine.ask(range(100, 140), new=20)
    machine.step()
    assert second in machine.scheduler.waiting
    machine.run()
    assert {first.number, second.number} <= machine.finished.keys()


def test_finished_sequences_hold_no_more_cells_than_they_may():
    machine = Machine(cells=400, rest_cells=100)
    for number in range(10):
        machine.ask([number * 7 + place for place in range(40)], new=4)
    machine.run()
    assert 0 < machine.pool.used <= 100
    assert machine.pool.live == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 2), max_size=30))
def test_common_counts_the_equal_beginning(one, other):
    length = common(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(100, 400), st.integers(2, 12), st.booleans())
def test_whatever_comes_and_goes_all_end_and_no_cell_is_lost(seed, cells, lines, has_rooms):
    chance = random.Random(seed)
    machine = Machine(
        cells=cells,
        lines=lines if has_rooms else max(lines, PLACES + 1),
        room=100 if has_rooms else None,
        rest_cells=chance.randint(0, cells),
    )
    stems = [[stem * 100 + place for place in range(60)] for stem in range(3)]
    for _ in range(60):
        asked = machine.tasks
        if chance.random() < 0.5:
            stem = chance.choice(stems)[: chance.randint(1, 60)]
            tail = [chance.randint(900, 903) for _ in range(chance.randint(0, 6))]
            machine.ask(
                stem + tail,
                new=chance.randint(1, 20),
                priority=chance.choice([0, 0, 1, 2]),
                owner=chance.choice("ab"),
                adapter=chance.choice(["", "", "x"]),
            )
        elif asked and chance.random() < 0.3:
            task = chance.choice(asked)
            if task in machine.scheduler.running or task in machine.scheduler.waiting:
                machine.end(task)
        machine.step()
    machine.run()
    assert machine.pool.live == 0
    assert len(machine.finished) == len(machine.tasks)
    machine.scheduler.forget()
    assert machine.pool.used == 0


@settings(deadline=None)
@given(
    st.floats(1e-4, 0.1),
    st.floats(1e-5, 0.02),
    st.floats(0, 0.003),
    st.floats(0.5, 2),
    st.integers(0, 1 << 32),
)
def test_the_cost_of_steps_is_learned_from_steps(fixed_s, token_s, seen_share, wrong, seed):
    chance = random.Random(seed)
    seen_s = seen_share * token_s
    pace = Pace(fixed_s=fixed_s * wrong, token_s=token_s / wrong)
    sizes = [(chance.choice([1, 4, 16, 64, 200]), chance.randint(0, 2000)) for _ in range(300)]
    for tokens, position in sizes:
        seen = tokens * position
        pace.learn(tokens, seen, fixed_s + token_s * tokens + seen_s * seen)
    for tokens, position in sizes[-20:]:
        true_s = fixed_s + token_s * tokens + seen_s * tokens * position
        assert 0.6 * true_s <= pace.cost_s(tokens, tokens * position) <= 1.5 * true_s


def test_a_disturbed_machine_does_not_make_the_pieces_tiny():
    chance = random.Random(1)
    pace = Pace(fixed_s=0.01, token_s=0.004)
    for _ in range(200):
        took_s = (0.01 + 0.004 * 40) * (chance.uniform(3, 8) if chance.random() < 0.4 else 1)
        pace.learn(40, 40 * 500, took_s)
    assert pace.tokens_in(0.2, position=500, most=512) >= 24
