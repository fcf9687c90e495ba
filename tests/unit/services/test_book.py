"""Budgets that processes share: never overdrawn, and exact whoever is killed at whatever moment."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base.errors import Overloaded
from haneul.services.book import NANO_MAX, Book
from haneul.services.holds import AT_ONCE, TOTAL, Hold, Left, Sums
from haneul.services.periods import starts

DAY = 20_779
ENTRIES_EACH, WORKERS, KILLS = 4, 4, 24
EVER, DAILY, DAY_S = 300_000_000, 6_000_000, 0.05  # a day of a test passes quickly
NOTE = struct.Struct("<BIIqq")  # what became of a request: step, entry, number, day, cost
OPENED, FINISHED = 1, 2
# What a worker does: it opens a page, reserves, notes the end in its page, settles; for ever.
WORKER = """
import os, random, struct, time
from pathlib import Path
from haneul.services.book import Book
from haneul.services.holds import TOTAL, Hold

folder, worker = Path({folder!r}), {worker}
NOTE, FINISHED, OPENED = struct.Struct({note!r}), {finished}, {opened}
book = Book(folder / "book", entries=64, owners=8)
notes = os.open(folder / f"notes-{{book.holder}}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
dice = random.Random({seed})
names = (f"key/{{worker}}", "tenant/t")
owners = [book.open(name, day={day}, before_nano=0, days=[]) for name in names]
free = list(range(worker * {each}, (worker + 1) * {each}))
number, held = 0, []
while True:
    if not free:
        entry, mine, on, nano = held.pop(0)
        cost = dice.randrange(nano + 1)
        os.write(notes, NOTE.pack(FINISHED, entry, mine, on, cost))
        assert book.settle(entry, cost)
        free.append(entry)
    number += 1
    day, nano = {day} + int((time.time() - {began}) / {day_s}), dice.randrange(1, 9000)
    os.write(notes, NOTE.pack(OPENED, free[-1], number, day, 0))
    holds = [Hold(1, TOTAL, 0, {ever}), Hold(1, day, day, {daily}), Hold(0, day, day, {half})]
    if book.reserve(free[-1], day, owners, holds, nano) is None:
        held.append((free.pop(), number, day, nano))
    elif len(held) > 2:
        free.append(held[0][0])
        entry, mine, on, nano = held.pop(0)
        os.write(notes, NOTE.pack(FINISHED, entry, mine, on, nano // 2))
        assert book.settle(entry, nano // 2)
"""


@pytest.fixture
def book(tmp_path):
    opened = Book(tmp_path / "book", entries=16, owners=4)
    yield opened
    opened.close()


def test_a_reservation_is_taken_everywhere_or_nowhere_and_settled_once(book):
    key, tenant = (
        book.open(name, day=DAY, before_nano=0, days=[]) for name in ("key/k", "tenant/t")
    )
    holds = [Hold(0, TOTAL, 0, 100), Hold(1, DAY, DAY, 50)]
    assert book.reserve(0, DAY, [key, tenant], holds, 40) is None
    refused = book.reserve(1, DAY, [key, tenant], holds, 11)
    assert (refused.hold, refused.left) == (holds[1], 10)
    assert book.sums(key) == book.sums(tenant) == Sums(0, 40, 1)
    assert book.settle(0, 7)
    assert not book.settle(0, 7)
    assert book.sums(key) == book.sums(tenant) == Sums(7, 0, 0)
    assert book.reserve(1, DAY + 1, [key, tenant], holds[1:], NANO_MAX - 1) is not None


def test_no_more_run_at_once_than_may(book):
    key = book.open("key/k", day=DAY, before_nano=0, days=[])
    at_most_two = [Hold(0, AT_ONCE, 0, 2)]
    assert [book.reserve(entry, DAY, [key], at_most_two, 500) for entry in (0, 1)] == [None, None]
    assert book.reserve(2, DAY, [key], at_most_two, 500) is not None
    book.settle(0, 0)
    assert book.reserve(2, DAY, [key], at_most_two, 500) is None


def test_an_owner_is_opened_once_and_its_past_counts_once(book, tmp_path):
    past = [(DAY - 100, 1), (DAY - 1, 10), (DAY, 100)]
    first = book.open("key/k", day=DAY, before_nano=1000, days=past)
    other = Book(tmp_path / "book", entries=16, owners=4)
    assert other.known("key/nobody") is None
    assert other.open("key/k", day=DAY, before_nano=5000, days=[]) == other.known("key/k") == first
    assert other.sums(first) == Sums(1111, 0, 0)
    for number in range(3):
        other.open(f"key/{number}", day=DAY, before_nano=0, days=[])
    with pytest.raises(Overloaded):
        book.open("key/one too many", day=DAY, before_nano=0, days=[])
    other.close()


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(1, 900), st.floats(0, 1)),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=60)
def test_periods_hold_what_was_spent_and_reserved_in_them_and_no_more(steps):
    """Days pass by up to nine at a time, so that weeks and months end and cells are used again."""
    with tempfile.TemporaryDirectory() as folder:
        book = Book(Path(folder) / "book", entries=8, owners=1)
        owner = book.open("key/k", day=DAY, before_nano=0, days=[])
        rows, held, day = [], {}, DAY
        for days, entry, nano, share in steps:
            day += days
            if entry in held:
                on, reserved = held.pop(entry)
                cost = int(reserved * share)
                assert book.settle(entry, cost)
                rows.append((on, cost))
            _, today, monday, first = starts(day)
            everything = rows + list(held.values())
            since = {1500: today, 3000: monday, 5000: first, 20_000: TOTAL}
            holds = [Hold(0, begin, day, amount) for amount, begin in since.items()]
            left = [
                hold.amount - sum(cost for on, cost in everything if on >= hold.first_day)
                for hold in holds
            ]
            refused = book.reserve(entry, day, [owner], holds, nano)
            if refused is None:
                assert nano <= min(left)
                held[entry] = (day, nano)
            else:
                assert refused.left == left[holds.index(refused.hold)] < nano
        reserved = sum(nano for _, nano in held.values())
        spent = sum(cost for _, cost in rows)
        assert book.sums(owner) == Sums(spent, reserved, len(held))
        book.close()


class Dying:
    """The words of a book whose process dies at the nth store of them."""

    def __init__(self, words, stores):
        self.words = words
        self.stores = stores

    def __getitem__(self, at):
        return self.words[at]

    def __setitem__(self, at, value):
        if self.stores == 0:
            raise KeyboardInterrupt
        self.stores -= 1
        self.words[at] = value


@pytest.mark.parametrize("step", ["reserve", "settle", "reserve on a later day"])
def test_a_death_at_any_store_leaves_a_change_whole_or_not_begun(tmp_path, step):
    """Every store of a change in turn: what it changes for one owner it changes for both."""
    seen, stores, is_over = set(), 0, False
    while not is_over:
        path = tmp_path / f"book-{step}-{stores}"
        dying, other = (Book(path, entries=4, owners=2) for _ in range(2))
        names = ("key/k", "tenant/t")
        owners = [dying.open(name, day=DAY, before_nano=5, days=[(DAY, 3)]) for name in names]
        for name in names:
            other.known(name)
        dying.reserve(0, DAY, owners, [], 100)
        dying._words = Dying(dying._words, stores)
        try:
            if step == "settle":
                dying.settle(0, 60)
            else:
                dying.reserve(1, DAY + 70 * (step != "reserve"), owners, [], 40)
            is_over = True
        except KeyboardInterrupt:
            stores += 1
        key, tenant = (other.sums(owner) for owner in owners)
        assert key == tenant
        entries = {each.entry: each.nano for each in other.left()}
        assert sum(entries.values()) == key.reserved_nano
        assert len(entries) == key.running
        assert (key.spent_nano == 68) == (0 not in entries)
        for each in other.left():
            assert other.settle(each.entry, 7, holder=each.holder)
        seen.add(key)
        assert other.sums(owners[0]) == other.sums(owners[1])
        assert other.sums(owners[0])[1:] == (0, 0)
    assert len(seen) == 2, "both ends were seen"
    assert stores > 4


def notes_of(folder, holder):
    """What a worker wrote down, a half-written last note left out."""
    data = (folder / f"notes-{holder}").read_bytes()
    return list(NOTE.iter_unpack(data[: len(data) // NOTE.size * NOTE.size]))


def adopt(book, folder, left: Left):
    """Settles what a killed worker left, by its notes, as a start does by its pages."""
    mine = [note for note in notes_of(folder, left.holder) if note[1] == left.entry]
    number = max(note[2] for note in mine if note[0] == OPENED)
    costs = [note[4] for note in mine if note[0] == FINISHED and note[2] == number]
    return book.settle(left.entry, costs[0] if costs else 0, holder=left.holder)


def start(folder, worker, seed, began):
    code = WORKER.format(
        folder=str(folder),
        worker=worker,
        seed=seed,
        began=began,
        note=NOTE.format,
        finished=FINISHED,
        opened=OPENED,
        each=ENTRIES_EACH,
        day=DAY,
        day_s=DAY_S,
        ever=EVER,
        daily=DAILY,
        half=DAILY // 2,
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(180)
def test_workers_killed_at_any_instruction_neither_overdraw_nor_leak_nor_lose_a_cost(tmp_path):
    book = Book(tmp_path / "book", entries=64, owners=8)
    tenant = book.open("tenant/t", day=DAY, before_nano=0, days=[])
    dice, began = random.Random(5), time.time()
    workers = {number: start(tmp_path, number, number, began) for number in range(WORKERS)}
    adopted = 0
    for kill in range(KILLS):
        time.sleep(dice.uniform(0.1, 0.3))
        spent, reserved, _ = book.sums(tenant)
        assert spent + reserved <= EVER
        number = dice.randrange(WORKERS)
        workers[number].kill()
        _, said = workers[number].communicate(timeout=20)
        assert workers[number].returncode == -signal.SIGKILL, said
        found = book.left()
        assert all(adopt(book, tmp_path, each) for each in found)
        assert not any(adopt(book, tmp_path, each) for each in found), "each is settled once"
        adopted += len(found)
        workers[number] = start(tmp_path, number, 100 + kill, began)
    for worker in workers.values():
        worker.kill()
        worker.communicate(timeout=20)
    for each in book.left():
        assert adopt(book, tmp_path, each)
    by_day = Counter()
    for path in tmp_path.glob("notes-*"):
        for step, _, _, day, cost in notes_of(tmp_path, path.name.removeprefix("notes-")):
            if step == FINISHED:
                by_day[day] += cost
    assert book.sums(tenant) == Sums(sum(by_day.values()), 0, 0)
    assert max(by_day.values()) <= DAILY
    assert sum(by_day.values()) <= EVER
    keys = [book.known(f"key/{number}") for number in range(WORKERS)]
    sums = [book.sums(key) for key in keys if key is not None]
    assert sum(each.spent_nano for each in sums) == sum(by_day.values())
    assert {each[1:] for each in sums} == {(0, 0)}
    assert adopted > KILLS, "the killed ones held reservations"
    assert sum(by_day.values()) > EVER // 4, "they were at work"
    book.close()
