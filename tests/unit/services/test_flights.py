"""The pages of requests in flight: what is put in is there after a kill, once, whatever it is."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haneul.base.errors import AlreadyRunning, Overloaded
from haneul.base.ids import new_id
from haneul.services.bill import CODE_MAX_BYTES
from haneul.services.budgets import APP_MAX
from haneul.services.choice import REASONS
from haneul.services.flights import (
    FINAL_AT,
    OPEN,
    OPENED_AT,
    PAGE,
    Counters,
    Flights,
    Opened,
    terminal,
)
from haneul.services.offers import kept
from haneul.services.prices import Rates
from haneul.services.tenants import TENANT_MAX
from haneul.store.ledger import RequestRow

COUNT = st.integers(0, (1 << 31) - 1)
NANO = st.integers(0, 10**15)
TEXT = st.text(max_size=2000)
RATES = st.builds(Rates, NANO, NANO, NANO)


def opened(rates=None, **fields):
    known = {
        "id": new_id("req"),
        "key_id": "k",
        "route": "chat",
        "model": "m",
        "engine": "e",
        "state": "aborted",
        "status": 499,
        "currency": "USD",
        "received_us": 1,
        "finished_us": 1,
    }
    row = RequestRow(**{**known, **fields})
    return Opened(row=row, rates=rates or Rates(1, 1, 1), hour_nano=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flights"


@given(
    rates=RATES,
    counts=st.lists(COUNT, min_size=4, max_size=4),
    texts=st.lists(TEXT, min_size=5, max_size=5),
    state=st.sampled_from(["done", "aborted", "failed", "refused"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_page_gives_back_the_record_that_was_put_into_it(path, rates, counts, texts, state):
    model, engine, end_user, upstream_id, code = texts
    with Flights(path, 2) as table:
        flight = table.open(
            opened(rates, model=kept(model), engine=kept(engine), end_user=kept(end_user))
        )
        prompt, cached, completion, reasoning = counts
        flight.counters.prompt_tokens = prompt
        flight.counters.cached_tokens = min(cached, prompt)
        flight.counters.completion_tokens = completion
        flight.counters.reasoning_tokens = reasoning
        row = terminal(
            flight.opened,
            flight.counters,
            state=state,
            status=200,
            error_code=kept(code, CODE_MAX_BYTES),
            metering="engine",
            upstream_id=kept(upstream_id),
            finished_us=2,
        )
        flight.finish(row)
        ((at, left),) = table.left()
        assert left == row
        table.release(at)
        assert table.in_flight == 0


@given(
    rates=RATES,
    counts=st.lists(st.lists(COUNT, min_size=3, max_size=3), min_size=1, max_size=5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_open_page_becomes_an_aborted_record_of_what_was_saved_last(path, rates, counts):
    with Flights(path, 2) as table:
        flight = table.open(opened(rates))
        for prompt, cached, completion in counts:
            flight.counters.prompt_tokens = prompt
            flight.counters.cached_tokens = min(cached, prompt)
            flight.counters.completion_tokens = completion
            flight.save()
        flight.counters.completion_tokens += 1  # not saved: not delivered
    with Flights(path, 2) as table:
        ((at, row),) = table.left()
        assert (row.state, row.error_code) == ("aborted", "cloud_killed")
        assert (row.prompt_tokens, row.completion_tokens) == (prompt, completion)
        assert (
            row.cost_nano
            == terminal(flight.opened, flight_counters(prompt, cached, completion)).cost_nano
        )
        table.release(at)


def flight_counters(prompt, cached, completion):
    return Counters(
        prompt_tokens=prompt, cached_tokens=min(cached, prompt), completion_tokens=completion
    )


@given(st.text(max_size=600), st.integers(1, 300))
def test_what_is_kept_of_a_text_fits_and_holds_no_nul(text, most_bytes):
    short = kept(text, most_bytes)
    assert len(short.encode()) <= most_bytes
    assert "\0" not in short
    assert text.replace("\0", "\ufffd").startswith(short)
    if len(text.encode()) * 3 <= most_bytes:
        assert len(short) == len(text)
    assert kept(None) is None


def test_the_longest_names_together_fit_a_page(path):
    long = "한" * 5000
    with Flights(path, 1) as table:
        flight = table.open(
            opened(
                model=kept(long),
                engine=kept(long),
                end_user=kept(long),
                tenant_id="t" * TENANT_MAX,
                user_id=new_id("usr"),
                app="a" * APP_MAX,
                digest="sha256:" + "f" * 64,
                engine_version="v" * 64,
                chip="c" * 100,
                price_id=new_id("prc"),
                upstream_id=kept(long),
                error_code=kept(long, CODE_MAX_BYTES),
                prompt_tokens=(1 << 31) - 1,
                cost_nano=(1 << 62),
                received_us=1 << 60,
                routed=max(REASONS, key=len),
                saved_nano=-(1 << 62),
                thinking_max=1 << 24,
                masked=1 << 30,
                unit="character",
                units=1 << 62,
            )
        )
        flight.finish(flight.opened.row)
        assert table.left()[0][1] == flight.opened.row


def test_a_record_that_does_not_fit_takes_no_page(path):
    with Flights(path, 1) as table:
        with pytest.raises(ValueError, match="do not fit"):
            table.open(opened(model="m" * 3000))
        assert table.in_flight == 0
        table.open(opened())
        with pytest.raises(Overloaded):
            table.open(opened())


def test_pages_are_given_and_taken_back(path):
    with Flights(path, 3) as table:
        taken = [table.open(opened()) for _ in range(3)]
        assert table.in_flight == 3
        with pytest.raises(Overloaded, match="in flight"):
            table.open(opened())
        taken[1].free()
        assert table.in_flight == 2
        table.open(opened())


def test_going_on_elsewhere_leaves_one_page_with_the_new_terms(path):
    with Flights(path, 2) as table:
        first = opened(Rates(1, 1, 1_000_000), engine="one")
        flight = table.open(first)
        flight.counters.completion_tokens = 5
        flight.save()
        row = msgspec.structs.replace(first.row, engine="two")
        flight.reopen(Opened(row=row, rates=Rates(1, 1, 2_000_000), hour_nano=0))
        flight.counters.completion_tokens += 3
        flight.save()
        ((_, left),) = table.left()
        assert (left.id, left.engine) == (first.row.id, "two")
        assert (left.completion_tokens, left.cost_nano) == (3, 6)


def test_tokens_that_are_kept_alone_leave_the_rest_of_the_page_as_it_was(path):
    with Flights(path, 2) as table:
        flight = table.open(opened(Rates(1, 1, 1_000_000)))
        flight.counters.prompt_tokens, flight.counters.completion_tokens = 7, 1
        flight.save()
        flight.keeper()(9)
        other = table.open(opened())
        other.keeper()(4)
        (_, left), (_, beside) = sorted(table.left(), key=lambda one: -one[1].completion_tokens)
        assert (left.prompt_tokens, left.completion_tokens) == (7, 9)
        assert (beside.prompt_tokens, beside.completion_tokens) == (0, 4)


READER = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
    print("reading", flush=True)
    words, seen = memoryview(memory).cast("q"), set()
    for _ in range(2_000_000):
        seen.add(words[3])
    words.release()
    print(sorted(seen), flush=True)
"""


def test_a_kill_between_two_stores_never_finds_less_than_was_kept(path):
    with Flights(path, 1) as table:
        flight = table.open(opened())
        flight.counters.completion_tokens = 7
        flight.save()
        keep = flight.keeper()
        command = [sys.executable, "-c", READER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout.readline() == "reading\n"
            while reader.poll() is None:
                for _ in range(1000):
                    flight.save()
                    keep(7)
            assert reader.stdout.readline() == "[7]\n"


def test_a_second_holder_is_refused_in_this_process_and_in_another(path):
    with Flights(path, 1):
        with pytest.raises(AlreadyRunning):
            Flights(path, 1)
        with path.open("rb") as reader:  # reading the file does not loosen the hold
            reader.read()
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            assert pool.apply(try_to_hold, (str(path),)) == "refused"
    with Flights(path, 1):
        pass


def try_to_hold(path):
    try:
        Flights(path, 1)
    except AlreadyRunning:
        return "refused"
    return "held"


def test_a_page_that_cannot_be_read_does_not_hide_the_others(path):
    with Flights(path, 3) as table:
        table.open(opened())
        broken = table.open(opened())
        at = broken._at
        table.memory[at + OPENED_AT + 2 : at + OPENED_AT + 40] = b"\xff" * 38
    with Flights(path, 3) as table:
        assert [row.state for _, row in table.left()] == ["aborted"]
        assert table.memory[at] == OPEN, "it stays, for a person to look at"
        table.open(opened())
        with pytest.raises(Overloaded):
            table.open(opened())


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_page_of_any_bytes_stops_no_start(path, head, tail):
    path.write_bytes(head.ljust(FINAL_AT, b"\x01") + tail.ljust(PAGE - FINAL_AT, b"\xff"))
    with Flights(path, 1) as table:
        for _, row in table.left():
            assert row.state


def test_the_disk_is_taken_when_the_file_is_made(path):
    with Flights(path, 64):
        assert os.stat(path).st_blocks * 512 >= 64 * PAGE


def test_a_smaller_limit_keeps_the_pages_that_lie_beyond_it(path):
    with Flights(path, 4) as table:
        for _ in range(4):
            table.open(opened())
    with Flights(path, 2) as table:
        assert len(table.left()) == 4


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="of Linux")
def test_pages_that_nobody_uses_any_more_take_no_memory(path):
    with Flights(path, 1024) as flights:
        looked = resident_bytes(path)
        held = [flights.open(opened()) for _ in range(1000)]
        used = resident_bytes(path)
        for flight in held:
            flight.free()
        calm = resident_bytes(path)
    assert used >= 1000 * PAGE
    assert looked == calm == 0


def resident_bytes(path):
    """Of a mapped file, in this process's memory."""
    rows, is_its = Path("/proc/self/smaps").read_text().splitlines(), False
    for row in rows:
        if row.endswith(str(path)):
            is_its = True
        elif is_its and row.startswith("Rss:"):
            return int(row.split()[1]) * 1024
    return None
