"""What a key gets to use of a name, and in which order, by what gates and prices say."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    RateLimited,
)
from haneul.base.http_connection import Disconnected
from haneul.services import openai
from haneul.services.affinity import beginning, mark
from haneul.services.flights import Counters
from haneul.services.gate import Gate
from haneul.services.health import BREAKS_MAX, REST_S, RETRY_AFTER_MAX_S
from haneul.services.keys import LOCAL
from haneul.services.prices import Rates, cost_nano
from haneul.services.router import Habit, Router, Tokens, likely_nano, likely_tokens
from haneul.services.routes import Member, Route
from haneul.services.targets import Target, Targets, always_ready
from haneul.store.engines import EngineRow
from haneul.store.prices import PriceRow


def ask(model="m", *messages, **fields):
    said = list(messages) or [{"role": "user", "content": "hello"}]
    body = msgspec.json.encode({"model": model, "messages": said, **fields})
    return openai.read(openai.CHAT, body)


def price_row(input_nano, output_nano, reasoning_nano=None, cached_nano=0):
    return PriceRow(
        id="p",
        model="*",
        engine="e",
        currency="USD",
        input_nano=input_nano,
        cached_nano=cached_nano,
        output_nano=output_nano,
        reasoning_nano=reasoning_nano,
        created_us=0,
    )


def targets_of(served, prices=None):
    """Targets as the roster makes them: engine names to the models they serve."""
    found = Targets(client=None)
    rows = [
        EngineRow(
            name=name,
            url="http://127.0.0.1:1",
            models=msgspec.json.encode(models).decode(),
            created_us=0,
        )
        for name, models in served.items()
    ]

    def make(row, model, transport):
        return Target(
            model=f"{row.name}/{model}",
            engine=row.name,
            upstream_model=model,
            transport=transport,
            gate=Gate(inside_max=4, queue_max=4, queue_s=1),
            ready=always_ready,
            currency="USD",
            id=mark(row.name.encode()),
        )

    found.set_remote(rows, lambda row, _: ((prices or {}).get(row.name), ()), make)
    return found


def router_of(targets, **options):
    options = {"clock": lambda: 0.0, "chance": lambda: 0.0, **options}
    return Router(targets, spill_wait_s=5, **options)


class Clock:
    """A time that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


ERRORS = (
    EngineFailed(),
    Disconnected(),
    EngineUnavailable(retry_after_s=2),
    RateLimited(retry_after_s=900),
    Overloaded(),
    DeadlineExceeded(),
)
NAMES = ("a", "b", "e1/a", "e2/a", "e3/b", "both", "weighted", "nobody")
some = st.frozensets(st.sampled_from(NAMES), max_size=4)


@given(some, st.sampled_from(NAMES), st.floats(0, 0.999))
def test_no_key_is_led_to_a_target_it_may_not_use(allowed, name, chance):
    targets = targets_of({"e1": ["a"], "e2": ["a"], "e3": ["b"]})
    both = Route("both", [Member("a")], ["b"])
    weighted = Route("weighted", [Member("e1/a", 3), Member("b", 1)], ["e2/a"])
    targets.set_routes([both, weighted])
    router = router_of(targets, chance=lambda: chance)
    key = msgspec.structs.replace(LOCAL, models=allowed)
    try:
        plan = router.plan(key, ask(name))
    except ModelNotFound:
        assert name == "nobody"
        return
    except NotAllowed:
        assert name not in allowed
        assert not {target.model for target in targets.find(name)} & allowed
        return
    assert plan.targets
    for target in plan.targets:
        member = {"both": {"a", "b"}, "weighted": {"b"}}.get(name, set())
        assert (
            name in allowed
            or target.model in allowed
            or target.upstream_model in (allowed & member)
        )


def test_the_cheapest_for_the_likely_tokens_goes_first():
    prices = {"prompts": price_row(1, 100), "answers": price_row(100, 1)}
    router = router_of(targets_of({name: ["m"] for name in prices}, prices))
    long = {"role": "user", "content": "w" * 40_000}
    assert router.plan(LOCAL, ask("m", long)).targets[0].engine == "prompts"
    assert router.plan(LOCAL, ask("m", max_tokens=2000)).targets[0].engine == "answers"


def test_what_requests_used_changes_what_is_likely():
    prices = {"plain": price_row(10**7, 10**8), "thinks": price_row(10**7, 2 * 10**7, 10**10)}
    router = router_of(targets_of({name: ["m"] for name in prices}, prices))
    assert router.plan(LOCAL, ask()).targets[0].engine == "thinks"
    for _ in range(50):
        used = Counters(prompt_tokens=10, completion_tokens=500, reasoning_tokens=450)
        router.learn("m", used)
    assert router.plan(LOCAL, ask()).targets[0].engine == "plain"


@given(st.integers(0, 10**6), st.floats(0, 5000), st.floats(0, 1), st.floats(0, 1))
def test_a_likely_cost_is_the_bills_but_for_its_rounding(length, answer, cached, reasoning):
    request = msgspec.structs.replace(ask(), prompt_bytes=length)
    tokens = likely_tokens(request, Habit(answer, cached, reasoning))
    row = price_row(7 * 10**6, 11 * 10**6, 13 * 10**6, 3 * 10**6)
    bill = cost_nano(
        Rates(row.input_nano, row.cached_nano, row.output_nano, row.reasoning_nano),
        prompt=tokens.fresh + tokens.cached,
        cached=tokens.cached,
        completion=tokens.answer + tokens.reasoning,
        reasoning=tokens.reasoning,
    )
    assert abs(likely_nano(row, tokens) - bill) <= 1
    assert min(tokens) >= 0


def test_a_price_without_one_for_reasoning_takes_the_answers():
    assert likely_nano(price_row(0, 10**6), Tokens(0, 0, 1, 2)) == 3


@pytest.mark.parametrize("error", [Overloaded(retry_after_s=9), DeadlineExceeded()])
def test_a_refusal_and_a_silence_push_a_target_back(error):
    targets = targets_of({"e1": ["m"], "e2": ["m"]})
    router = router_of(targets)
    first = router.plan(LOCAL, ask()).targets[0]
    router.ended(first, error, late=None)
    plan = router.plan(LOCAL, ask())
    assert plan.targets[0] is not first
    assert first in plan.targets


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*ERRORS, None]))))
def test_no_failure_ever_takes_a_target_out(failures):
    clock = Clock()
    targets = targets_of({name: ["m"] for name in "abc"})
    router = router_of(targets, clock=clock)
    every = {target.engine: target for target in targets.find("m")}
    for name, error in failures:
        clock.now += 0.3
        router.trying(every[name])
        if error is None:
            every[name].health.worked()
        else:
            router.ended(every[name], error, late=None)
        assert {target.engine for target in router.plan(LOCAL, ask()).targets} == set("abc")
    clock.now += 1.1 * RETRY_AFTER_MAX_S + 1
    assert not any(target.health.paused_s(clock.now) for target in every.values())


@pytest.mark.parametrize(
    ("error", "rest_s"),
    [
        (RateLimited(retry_after_s=7), 7),
        (Overloaded(retry_after_s=2), 2),
        (Overloaded(), REST_S),
        (EngineUnavailable(retry_after_s=3600), RETRY_AFTER_MAX_S),
    ],
)
def test_a_target_rests_as_long_as_it_asks_and_is_first_again_after(error, rest_s):
    clock = Clock()
    router = router_of(targets_of({"e1": ["m"], "e2": ["m"]}), clock=clock)
    first = router.plan(LOCAL, ask()).targets[0]
    router.ended(first, error, late=None)
    clock.now += rest_s - 0.01
    assert router.plan(LOCAL, ask()).targets[0] is not first
    clock.now += 0.02
    assert router.plan(LOCAL, ask()).targets[0] is first


@pytest.mark.parametrize("error", [EngineFailed(), Disconnected()])
def test_a_broken_answer_may_be_its_requests_own_fault(error):
    router = router_of(targets_of({"e1": ["m"], "e2": ["m"]}))
    first = router.plan(LOCAL, ask()).targets[0]
    for _ in range(20):
        for _ in range(BREAKS_MAX - 1):
            router.ended(first, error, late=None)
        assert router.plan(LOCAL, ask()).targets[0] is first
        first.health.worked()  # for somebody else
    for _ in range(BREAKS_MAX):
        router.ended(first, error, late=None)
    assert router.plan(LOCAL, ask()).targets[0] is not first


def test_of_those_that_rest_the_first_to_end_it_is_asked_first():
    router = router_of(targets_of({name: ["m"] for name in "abc"}))
    first, second, third = router.plan(LOCAL, ask()).targets
    router.ended(first, RateLimited(retry_after_s=30), late=None)
    router.ended(second, RateLimited(retry_after_s=3), late=None)
    assert router.plan(LOCAL, ask()).targets == [third, second, first]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), EngineFailed()])
def test_a_client_that_goes_away_and_one_broken_answer_push_nobody_back(error):
    targets = targets_of({"e1": ["m"], "e2": ["m"]})
    router = router_of(targets)
    first = router.plan(LOCAL, ask()).targets[0]
    router.ended(first, error, late=None)
    assert router.plan(LOCAL, ask()).targets[0] is first


def test_a_name_is_looked_up_anew_when_engines_change():
    targets = targets_of({"e1": ["m"]})
    assert len(targets.find("m")) == 1
    targets.set_remote([], lambda row, model: (None, ()), None)
    with pytest.raises(ModelNotFound):
        targets.find("m")


def test_all_turns_of_a_conversation_begin_alike():
    turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    begins = set()
    for number in range(4):
        begins.add(beginning(ask("m", *turns)))
        turns += [
            {"role": "assistant", "content": f"answer {number}"},
            {"role": "user", "content": [{"type": "text", "text": 'and "assistant"?'}]},
        ]
    assert len(begins) == 1
    assert beginning(ask("m", {"role": "user", "content": "other"})) not in begins
