"""Where requests go in a running cloud: by routes, prices, own hardware and prefixes."""

from __future__ import annotations

import asyncio
import json
import secrets
import time

import pytest

from haneul.services.routes import parse, row_of
from haneul.store import routes
from haneul.testing.engine import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHEAP, DEAR = ("0.1", "0.01", "0.4"), ("1", "0.1", "4")


def named():
    return f"m-{secrets.token_hex(4)}"


async def put_route(cloud, name, *members, fallbacks=()):
    """What `haneul routes set` does."""
    await cloud.cloud.database.call(routes.put, row_of(parse(name, members, fallbacks)))
    await cloud.cloud.roster.refresh()


async def crowd(cloud, secret, model, texts, **fields):
    """So many at once; their answers."""
    return await asyncio.gather(*(cloud.chat(secret, model, text, **fields) for text in texts))


def said(answer):
    return answer.headers["x-haneul-engine"], answer.headers["x-haneul-route-reason"]


# routes
async def test_a_route_leads_to_its_members_and_is_listed(cloud, key):
    one = await cloud.add_engine(price=CHEAP)
    two = await cloud.add_engine(price=DEAR)
    name = named()
    await put_route(cloud, name, two.models[0], one.models[0])
    answer = await cloud.chat(key.secret, name)
    assert (answer.status, one.seen.requests, two.seen.requests) == (200, 1, 0)
    assert said(answer)[1] == "cheapest"
    assert one.seen.bodies[0]["model"] == one.models[0]
    listed = (await cloud.ask("GET", "/v1/models", secret=key.secret)).json()["data"]
    (shown,) = [each for each in listed if each["id"] == name]
    assert [each["model"] for each in shown["members"]] == [two.models[0], one.models[0]]
    alone = await cloud.ask("GET", f"/v1/models/{name}", secret=key.secret)
    assert alone.json() == shown


async def test_a_route_that_is_removed_is_404_within_a_moment(cloud, key):
    engine = await cloud.add_engine()
    name = named()
    await put_route(cloud, name, engine.models[0])
    assert (await cloud.chat(key.secret, name)).status == 200
    await cloud.cloud.database.call(routes.remove, name, 1)
    await cloud.cloud.roster.refresh()
    assert (await cloud.chat(key.secret, name)).status == 404


async def test_weights_share_the_requests_out(cloud, key):
    one, two = await cloud.add_engine(), await cloud.add_engine()
    name = named()
    await put_route(cloud, name, f"{one.models[0]}=3", f"{two.models[0]}=1")
    for _ in range(10):
        answers = await crowd(cloud, key.secret, name, ["same"] * 20)
        assert {answer.status for answer in answers} == {200}
    assert one.seen.requests + two.seen.requests == 200
    assert 20 < two.seen.requests < 85, "a quarter of 200, give or take five deviations"


async def test_a_fallback_answers_when_the_members_fail_and_says_so(cloud, key):
    bad = await cloud.add_engine(status=500, price=CHEAP)
    good = await cloud.add_engine(price=DEAR)
    name = named()
    await put_route(cloud, name, bad.models[0], fallbacks=good.models)
    answer = await cloud.chat(key.secret, name)
    assert answer.status == 200
    assert said(answer)[1] == "fallback"
    row = await cloud.row(answer.id)
    assert (row.engine, row.routed, row.saved_nano) == (said(answer)[0], "fallback", None)


async def test_a_key_for_a_route_may_use_it_and_not_its_members(cloud):
    engine = await cloud.add_engine()
    name = named()
    await put_route(cloud, name, engine.models[0])
    key = await cloud.make_key(models=(name,))
    assert (await cloud.chat(key.secret, name)).status == 200
    assert (await cloud.chat(key.secret, engine.models[0])).status == 403


async def test_a_key_for_a_member_uses_a_route_as_far_as_that_member(cloud):
    cheap, dear = await cloud.add_engine(price=CHEAP), await cloud.add_engine(price=DEAR)
    name = named()
    await put_route(cloud, name, cheap.models[0], dear.models[0])
    key = await cloud.make_key(models=(dear.models[0],))
    assert (await cloud.chat(key.secret, name)).status == 200
    assert (cheap.seen.requests, dear.seen.requests) == (0, 1)
    other = await cloud.make_key(models=("nothing-of-it",))
    assert (await cloud.chat(other.secret, name)).status == 403
    listed = (await cloud.ask("GET", "/v1/models", secret=other.secret)).json()["data"]
    assert name not in {each["id"] for each in listed}


async def test_an_unknown_model_is_404_with_the_nearest_that_the_key_may_use(cloud, key):
    engine = await cloud.add_engine(models=("gloomy-pelican",))
    answer = await cloud.chat(key.secret, "gloomy-pelikan")
    assert answer.status == 404
    assert "Did you mean 'gloomy-pelican'?" in answer.error()["message"]
    stranger = await cloud.make_key(models=("something-else",))
    answer = await cloud.chat(stranger.secret, "gloomy-pelikan")
    assert answer.status == 404
    assert "pelican" not in answer.error()["message"]
    assert engine.seen.requests == 0


# prices
async def test_the_cheapest_answers_and_the_ledger_keeps_what_that_saved(cloud, key):
    name = named()
    dear = await cloud.add_engine(models=(name,), price=DEAR)
    cheap = await cloud.add_engine(models=(name,), price=CHEAP)
    answer = await cloud.chat(key.secret, name)
    row = await cloud.row(answer.id)
    assert (cheap.seen.requests, dear.seen.requests, row.routed) == (1, 0, "cheapest")
    assert row.saved_nano == 9 * row.cost_nano, "the other's prices are ten times these"


async def test_the_only_engine_is_said_to_be_the_only_one(cloud, key):
    engine = await cloud.add_engine(name="lonely")
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert said(answer) == ("lonely", "only")
    row = await cloud.row(answer.id)
    assert (row.routed, row.saved_nano) == ("only", None)


async def test_an_engine_in_pause_is_not_asked_and_one_request_brings_it_back(cloud, key):
    name = named()
    cheap = await cloud.add_engine(models=(name,), price=CHEAP, status=429, retry_after_s=1)
    dear = await cloud.add_engine(models=(name,), price=DEAR)
    for number in range(4):
        answer = await cloud.chat(key.secret, name)
        assert (answer.status, said(answer)[1]) == (200, "fallback"), number
    assert (cheap.seen.requests, dear.seen.requests) == (1, 4)
    cheap.faults = Faults()
    await asyncio.sleep(1.2)
    answers = [await cloud.chat(key.secret, name) for _ in range(3)]
    assert [said(answer)[1] for answer in answers] == ["cheapest"] * 3


# own hardware
async def own_and_remote(cloud, *, delay_s, own_slots=2):
    name = named()
    own = await cloud.add_engine(models=(name,), price=DEAR, own_slots=own_slots, delay_s=delay_s)
    remote = await cloud.add_engine(models=(name,), price=CHEAP)
    return name, own, remote


async def test_own_hardware_answers_while_it_is_free_whatever_its_price(cloud, key):
    name, own, remote = await own_and_remote(cloud, delay_s=0)
    answer = await cloud.chat(key.secret, name)
    row = await cloud.row(answer.id)
    assert (own.seen.requests, remote.seen.requests) == (1, 0)
    assert said(answer)[1] == row.routed == "own_free"
    assert row.saved_nano == row.cost_nano // 10, "the remote's price, as own hardware is paid for"


async def test_nothing_spills_before_waits_were_measured_and_then_what_would_wait_too_long(
    start_cloud,
):
    cloud = await start_cloud(spill_wait_s=0.15)
    key = await cloud.make_key()
    name, own, remote = await own_and_remote(cloud, delay_s=0.05)
    first = await crowd(cloud, key.secret, name, ["hello"] * 6)
    assert {said(answer)[1] for answer in first} == {"own_free", "own_queue"}
    assert (own.seen.requests, remote.seen.requests) == (6, 0)
    second = await crowd(cloud, key.secret, name, ["hello"] * 8)
    reasons = [said(answer)[1] for answer in second]
    assert reasons.count("own_free") >= 2
    assert reasons.count("spilled") == remote.seen.requests >= 2
    (spilled, *_) = [answer for answer in second if said(answer)[1] == "spilled"]
    row = await cloud.row(spilled.id)
    assert row.saved_nano == -row.cost_nano, "waiting would have cost nothing"


async def test_a_full_queue_spills_even_what_was_never_measured(start_cloud):
    cloud = await start_cloud(queue_max=1)
    key = await cloud.make_key()
    name, own, remote = await own_and_remote(cloud, delay_s=0.1, own_slots=1)
    answers = await crowd(cloud, key.secret, name, ["hello"] * 4)
    assert [answer.status for answer in answers] == [200] * 4
    assert sorted(said(answer)[1] for answer in answers) == [
        "own_free",
        "own_queue",
        "spilled",
        "spilled",
    ]
    assert (own.seen.requests, remote.seen.requests) == (2, 2)


# prefixes
async def test_turns_of_one_conversation_go_to_one_engine_and_others_to_all(cloud, key):
    name = named()
    engines = [await cloud.add_engine(models=(name,)) for _ in range(4)]
    for number in range(12):
        messages, homes = [{"role": "user", "content": f"talk {number}"}], set()
        for turn in range(3):
            answer = await cloud.chat(key.secret, name, messages=messages)
            homes.add(said(answer)[0])
            assert said(answer)[1] == "affinity"
            messages += [
                {"role": "assistant", "content": "one two"},
                {"role": "user", "content": f"go on {turn}"},
            ]
        assert len(homes) == 1
    assert sum(engine.seen.requests > 0 for engine in engines) >= 3


async def test_a_crowd_with_one_beginning_is_spread_within_the_bound(cloud, key):
    name = named()
    engines = [await cloud.add_engine(models=(name,), delay_s=0.1) for _ in range(4)]
    answers = await crowd(cloud, key.secret, name, ["the same"] * 40)
    assert {answer.status for answer in answers} == {200}
    counts = [engine.seen.requests for engine in engines]
    assert sum(counts) == 40
    assert max(counts) <= 1.25 * 40 / 4 + 1


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_cold_beginning_is_read_once_where_prefixes_are_shared(cloud, key, is_stream):
    begin = "so it begins " * 120
    texts = [f"{begin}{number}" for number in range(6)]
    took = {}
    for shares in (0, 1):
        engine = await cloud.add_engine(shares_prefixes=shares, cold_s=0.1)
        began = time.monotonic()
        answers = await crowd(cloud, key.secret, engine.models[0], texts, stream=is_stream)
        took[shares] = time.monotonic() - began
        assert {answer.status for answer in answers} == {200}
        assert engine.seen.cold_reads == (1 if shares else 6)
    assert took[1] < took[0] / 1.5


async def test_followers_go_on_when_their_leader_fails(cloud, key):
    engine = await cloud.add_engine(shares_prefixes=1, cold_s=0.05, garbage=True)
    texts = ["long " * 300 + str(number) for number in range(4)]
    answers = await crowd(cloud, key.secret, engine.models[0], texts)
    assert [answer.status for answer in answers] == [502] * 4


# scarcity
async def test_when_all_is_busy_503_says_when_the_queue_will_be_through(start_cloud):
    cloud = await start_cloud(queue_max=2)
    key = await cloud.make_key()
    engine = await cloud.add_engine(own_slots=1, delay_s=0.5)
    model = engine.models[0]
    for _ in range(4):
        assert (await cloud.chat(key.secret, model)).status == 200  # of four words: 2 s each
    answers = await crowd(cloud, key.secret, model, ["hello"] * 4)
    (refused,) = [answer for answer in answers if answer.status != 200]
    assert (refused.status, refused.error()["code"]) == (503, "overloaded")
    assert 5 <= int(refused.headers["retry-after"]) <= 15, "three of 2 s or more are before it"


async def test_own_hardware_is_asked_again_as_soon_as_its_full_queue_is_through(start_cloud):
    cloud = await start_cloud(queue_max=0)
    key = await cloud.make_key()
    name, own, _ = await own_and_remote(cloud, delay_s=0.02, own_slots=1)
    own_alone = next(each.model for each in cloud.cloud.targets.find(name) if each.is_own)
    answers = await crowd(cloud, key.secret, own_alone, ["hello"] * 3)
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    assert said(await cloud.chat(key.secret, name))[1] == "own_free"
    assert own.seen.requests == 2


async def test_the_record_of_a_request_says_why_and_what_it_saved(cloud, key):
    name = named()
    await cloud.add_engine(models=(name,), price=DEAR)
    await cloud.add_engine(models=(name,), price=CHEAP)
    answer = await cloud.chat(key.secret, name)
    row = await cloud.row(answer.id)
    shown = await cloud.ask("GET", f"/haneul/v1/requests/{answer.id}", secret=key.secret)
    fields = json.loads(shown.data)
    assert (fields["routed"], fields["saved_nano"]) == (row.routed, row.saved_nano)
