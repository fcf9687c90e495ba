"""An event loop whose time passes only where everybody waits, and a gateway's world on it.

    with VirtualLoop() as loop:
        loop.run_until_complete(main())     # an hour of waiting takes no time

Engines, clients and faults are drawn by a seed; gates, health, retries, router, watch, budgets,
bills and the relaying itself are the cloud's own.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
from collections import Counter
from contextlib import suppress

import msgspec

from haneul.base.config import Config
from haneul.base.errors import DeadlineExceeded, EngineFailed, EngineUnavailable, HaneulError
from haneul.base.http_connection import Disconnected
from haneul.services import openai
from haneul.services.affinity import mark
from haneul.services.bill import Biller
from haneul.services.budgets import Limit
from haneul.services.chat import Gateway, Request
from haneul.services.gate import Busy, Gate
from haneul.services.keys import LOCAL
from haneul.services.limits import Account
from haneul.services.metrics import Metrics
from haneul.services.purse import Purse
from haneul.services.retries import Retries, Stock
from haneul.services.router import Router
from haneul.services.targets import Target, Targets, always_ready
from haneul.services.watch import Watch
from haneul.store.engines import EngineRow
from haneul.store.prices import PriceRow

DAY_US = 86_400_000_000
EPOCH_US = 20_000 * DAY_US  # when every simulated day begins
CONFIG = Config(queue_s=20, first_token_s=30, answer_s=60, idle_s=10, spill_wait_s=1)
OF_A_KEY, OF_ALL = Stock(2, 0.01), Stock(3, 0.02)  # so little that it ends in a few requests
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Instant:
    """A selector that never waits: it moves the loop's time to where something is due."""

    def __init__(self, selector, loop):
        self._selector = selector
        self._loop = loop

    def select(self, timeout):
        if timeout is None:
            raise RuntimeError("everybody waits for ever")
        self._loop.now += max(0.0, timeout)
        return self._selector.select(0) if timeout is None else []

    def __getattr__(self, name):
        return getattr(self._selector, name)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is a number."""

    def __init__(self):
        self.now = 0.0
        super().__init__()
        self._selector = Instant(self._selector, self)

    def time(self):
        return self.now

    def start_again(self):
        """For the next seed: nothing is scheduled, and it is midnight."""
        self.now = 0.0
        heapq.heapify(self._scheduled)


class Engine:
    """One engine's luck: drawn for each request, with times of standing still."""

    def __init__(self, world, name, luck):
        self.world = world
        self.name = name
        self.luck = luck  # share of requests that go well
        self.calls = Counter()  # by key
        self.stands_until = 0.0

    def without_key(self, data):
        return data

    async def send(self, method, path, *, body=b"", headers=None):
        loop, draw = self.world.loop, self.world.draw
        if method == "GET":
            if loop.now < self.stands_until:
                await asyncio.sleep(10_000)
            return Reply(self.world, 200, [], 0)
        self.calls[json.loads(body)["user"]] += 1
        if draw.random() < 0.03:
            self.stands_until = loop.now + draw.choice((5.0, 50.0))
        if loop.now < self.stands_until:
            await asyncio.sleep(self.stands_until - loop.now)
            raise Disconnected()
        await asyncio.sleep(draw.choice((0.01, 0.1, 2.0)))
        fate = "well" if draw.random() < self.luck else draw.choice(FATES)
        if fate == "away":
            raise EngineUnavailable("away", retry_after_s=2)
        if fate == "hangs":
            await asyncio.sleep(10_000)
        if fate in STATUSES:
            after = {b"retry-after": b"3"} if draw.random() < 0.5 else {}
            return Reply(self.world, STATUSES[fate], [b"{}"], 0, headers=after)
        is_stream = json.loads(body).get("stream", False)
        return Reply(self.world, 200, answer(fate, draw.randint(1, 8), is_stream), 0.05)


FATES = ("away", "hangs", "429", "503", "500", "400", "garbage", "cut", "cut first")
STATUSES = {"429": 429, "503": 503, "500": 500, "400": 400}


def answer(fate, tokens, is_stream):
    """The pieces of a body; an error among them cuts it there."""
    if fate == "garbage":
        return [b"data: nonsense\n\n" if is_stream else b"nonsense"]
    if fate == "cut first":
        return [Disconnected()]
    if not is_stream:
        usage = {"prompt_tokens": 9, "completion_tokens": tokens}
        whole = {"id": "c", "choices": [{"message": {"content": "word " * tokens}}], "usage": usage}
        return [Disconnected()] if fate == "cut" else [json.dumps(whole).encode()]
    return [EVENT] * tokens + ([Disconnected()] if fate == "cut" else [DONE])


class Reply:
    """What an engine answers."""

    def __init__(self, world, status, pieces, pause_s, headers=None):
        self.world, self.status, self.pieces, self.pause_s = world, status, pieces, pause_s
        self.headers = headers or {}

    async def _each(self):
        for piece in self.pieces:
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def pump(self, take, reader, shortcut=None):
        async for piece in self._each():
            take(piece)

    async def read(self, limit_bytes=0):
        return b"".join([piece async for piece in self._each()])

    def abort(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *reason):
        pass


class Client:
    """A call as the path knows it, whose client counts what it is told."""

    def __init__(self, world, number):
        self.world = world
        self.id = f"req_{number:06}"
        self.received = world.loop.now
        self.received_us = self.now_us()
        self.headers, self.limits, self.key, self.line = {}, b"", None, self
        self.errors = openai.DIALECTS["/v1/chat/completions"]
        self.has_begun = self.gone = self.is_answered = False
        self.expired = None
        self.begins = 0
        self.task = None
        self._timer = None

    def now_us(self):
        return EPOCH_US + round(self.world.loop.now * 1e6)

    def within(self, seconds, late=None):
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.world.loop.call_later(seconds, self._expire, late)

    def _expire(self, late):
        if not self.gone and self.expired is None and not self.task.done():
            self.expired = late or DeadlineExceeded()
            self.task.cancel()

    def hang_up(self):
        if not self.task.done() and not self.is_answered:
            self.gone = True
            self.task.cancel()

    def chunks(self):
        """Everything comes by `write`."""

    def begin(self, status, content_type, length=None):
        self.has_begun = True
        self.begins += 1

    def write(self, data, *, is_last=False):
        assert not self.is_answered, "something was sent behind the end"
        self.is_answered = is_last

    async def answer(self, status, data, content_type=b""):
        self.begin(status, content_type)
        self.write(data, is_last=True)

    def over(self):
        if self._timer is not None:
            self._timer.cancel()


class Records:
    """The ledger's side of a bill: rows, and pages that go back at once."""

    is_behind = is_failing = False

    def __init__(self):
        self.rows = []

    def append(self, row, flight=None):
        self.rows.append(row)
        if flight is not None:
            flight.free()


class World:
    """One seed's keys, engines and gateway."""

    def __init__(self, loop, flights, seed):
        self.loop, self.draw = loop, random.Random(seed)
        draw = self.draw
        self.records = Records()
        self.engines = [
            Engine(self, f"e{number}", draw.choice((0.0, 0.5, 0.9, 1.0)))
            for number in range(draw.randint(1, 3))
        ]
        self.targets = self._targets()
        router = Router(self.targets, spill_wait_s=1, clock=loop.time, chance=draw.random)
        biller = Biller(flights, self.records, Metrics(), "USD")
        self.gateway = Gateway(
            CONFIG,
            keyring=None,
            sessions=None,
            accounts=None,
            targets=self.targets,
            biller=biller,
            calls=None,
            replays=None,
            customs=None,
            router=router,
        )
        self.gateway.retries = Retries(loop.time, of_a_key=OF_A_KEY, of_all=OF_ALL)
        self.gateway.watch = Watch(loop.time)
        self.keys = [self._key(f"k{number}") for number in range(2)]
        self.accounts = {
            key.id: Account(key, {"key": Purse(EPOCH_US // DAY_US)}, loop.time) for key in self.keys
        }
        self.clients = {}
        self.errors = Counter()
        self.requests = Counter()  # by key

    def _key(self, name):
        budget = self.draw.choice((None, 150, 600))
        limits = [Limit("key", name, name, "concurrency", "", self.draw.choice((2, 8, 50)))]
        if budget is not None:
            limits.append(Limit("key", name, name, "money", "total", budget))
        return msgspec.structs.replace(LOCAL, id=name, name=name, limits=tuple(limits))

    def _targets(self):
        found = Targets(client=None)
        by_name = {engine.name: engine for engine in self.engines}
        rows = [
            EngineRow(name=name, url="http://127.0.0.1:1", models='["m"]', created_us=0)
            for name in by_name
        ]
        price = PriceRow(
            id="p",
            model="*",
            engine="e",
            currency="USD",
            input_nano=10_000,
            cached_nano=10_000,
            output_nano=10_000_000,
            created_us=0,
        )

        def make(row, model, transport):
            gate = Gate(
                inside_max=self.draw.randint(1, 3), queue_max=self.draw.randint(0, 6), queue_s=20
            )
            gate.busy = Busy(self.loop.time)
            return Target(
                model=f"{row.name}/{model}",
                engine=row.name,
                upstream_model=model,
                transport=by_name[row.name],
                gate=gate,
                ready=always_ready,
                currency="USD",
                is_own=self.draw.random() < 0.5,
                id=mark(row.name.encode()),
            )

        found.set_remote(rows, lambda row, _: (price, ()), make)
        return found

    async def run(self, count):
        """Lets so many requests come, and returns when all have ended."""
        tasks = []
        for number in range(count):
            await asyncio.sleep(self.draw.expovariate(self.pace))
            client = self.clients[number] = Client(self, number)
            client.task = self.loop.create_task(self._serve(client))
            tasks.append(client.task)
            if self.draw.random() < 0.15:
                self.loop.call_later(self.draw.random() * 5, client.hang_up)
        await asyncio.gather(*tasks)
        await self.gateway.watch.aclose()

    pace = 5.0  # requests a second

    async def _serve(self, client):
        """What stands before the relaying in chat.py, and what tells the client how it ended."""
        key = self.draw.choice(self.keys)
        self.requests[key.id] += 1
        body = {
            "model": "m",
            "user": key.id,
            "messages": [{"role": "user", "content": "w" * self.draw.choice((4, 400))}],
            "stream": self.draw.random() < 0.5,
            "max_tokens": 8,
        }
        try:
            ask = openai.read(openai.CHAT, json.dumps(body).encode())
            gateway, account = self.gateway, self.accounts[key.id]
            plan = gateway.router.plan(key, ask)
            try:
                bill = gateway.biller.open(client, key, account, ask, plan.targets)
            except HaneulError as error:
                gateway.biller.refused(client, key, ask.name, "m", error)
                raise
            dialect = openai.DIALECTS["/v1/chat/completions"]
            with bill:
                await gateway._relay(Request(client, key, dialect, ask, plan, bill, {}))
        except HaneulError as error:
            self.errors[type(error).__name__] += 1
            await self._fail(client)
        except asyncio.CancelledError:
            while client.task.cancelling():
                client.task.uncancel()
            if not client.gone:
                await self._fail(client)
        finally:
            client.ended = self.loop.now
            client.over()

    async def _fail(self, client):
        if not client.is_answered:
            with suppress(EngineFailed):
                if not client.has_begun:
                    client.begin(500, b"")
                client.write(b"error", is_last=True)
