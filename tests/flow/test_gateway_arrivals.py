"""Clients that send their bodies slowly take no place from others."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from haneul.services.arrivals import GRACE_S, KEY_SHARE

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Slow:
    """A request whose body is on its way."""

    def __init__(self, reader, writer, rest):
        self.reader, self.writer, self.rest = reader, writer, rest

    async def finish(self):
        """Sends what is left and gives the status."""
        self.writer.write(self.rest)
        return await self.status()

    async def status(self):
        line = await asyncio.wait_for(self.reader.readline(), 30)
        return int(line.split()[1]) if line else None


@asynccontextmanager
async def slow_bodies(cloud, secret, model, count, *, length=None, path="/v1/chat/completions"):
    """So many requests of which the last bytes are missing."""
    fields = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    body = json.dumps(fields).encode()
    body += b" " * ((length or len(body)) - len(body))
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    made = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
            writer.write(head + body[:20])
            made.append(Slow(reader, writer, body[20:]))
        yield made
    finally:
        for each in made:
            each.writer.transport.abort()


async def first_to_end(made, count):
    """The first that are answered, with their status."""
    asked = {asyncio.create_task(each.status()): each for each in made}
    found = []
    for task in asyncio.as_completed(asked):
        found.append(await task)
        if len(found) == count:
            break
    done = [(each, task.result()) for task, each in asked.items() if task.done()]
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    return done


def coming(cloud):
    return len(cloud.cloud.gateway.arrivals)


async def test_slow_bodies_are_not_in_flight_and_hinder_nobody(start_cloud):
    cloud = await start_cloud(in_flight_max=2, bodies_max=64)
    slow, good = await cloud.make_key(), await cloud.make_key()
    engine = await cloud.add_engine()
    async with slow_bodies(cloud, slow.secret, engine.models[0], 16) as made:
        await cloud.until(lambda: coming(cloud) == 16)
        for secret in (good.secret, slow.secret):
            assert (await cloud.chat(secret, engine.models[0])).status == 200
        assert await made[0].finish() == 200, "one that comes after all is answered"
    await cloud.until(lambda: coming(cloud) == 0)


async def test_a_key_has_its_part_of_them_and_its_slowest_makes_room(start_cloud):
    cloud = await start_cloud(bodies_max=4 * KEY_SHARE)
    slow, good = await cloud.make_key(), await cloud.make_key()
    engine = await cloud.add_engine()
    model = engine.models[0]
    async with (
        slow_bodies(cloud, good.secret, model, 4) as others,
        slow_bodies(cloud, slow.secret, model, 6) as made,
    ):
        refused = await first_to_end(made, 2)
        assert [status for _, status in refused] == [503, 503], "none had its second yet"
        assert coming(cloud) == 8
        stay = [each for each in made if each not in [one for one, _ in refused]]
        await asyncio.sleep(GRACE_S + 0.2)
        async with slow_bodies(cloud, slow.secret, model, 1) as (late,):
            ((_, status),) = await first_to_end(stay, 1)
            assert status == 408, "the slowest made room"
            assert await late.finish() == 200
        assert [await each.finish() for each in others] == [200] * 4, "another key's stay"


async def test_their_bytes_are_bounded_before_they_come(start_cloud):
    cloud = await start_cloud(bodies_max_bytes=4 << 20)
    key, other = await cloud.make_key(), await cloud.make_key()
    engine = await cloud.add_engine()
    model = engine.models[0]
    async with slow_bodies(cloud, key.secret, model, 3, length=400_000) as made:
        await cloud.until(lambda: coming(cloud) == 2)
        ((refused, status),) = await first_to_end(made, 1)
        assert status == 503, "a key has a quarter of four mebibytes"
        async with slow_bodies(cloud, other.secret, model, 1, length=3 << 20) as (large,):
            assert await large.finish() == 200, "one alone of a key always fits"
        assert await next(each for each in made if each is not refused).finish() == 200


async def test_a_body_that_never_comes_ends_in_time_and_is_told(start_cloud):
    cloud = await start_cloud(body_s=0.5)
    key = await cloud.make_key()
    async with slow_bodies(cloud, key.secret, "any", 2) as made:
        assert [await each.status() for each in made] == [408, 408]
    rows = await cloud.rows(key.key.id)
    assert [(row.state, row.status) for row in rows] == [("refused", 408)] * 2
