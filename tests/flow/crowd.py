"""A cloud of several workers in processes of their own, and many clients of it."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import asynccontextmanager, closing

import aiohttp
import msgspec

from haneul.base.config import Config
from haneul.base.http import Client, unix
from haneul.base.places import cloud_socket
from haneul.base.units import parse_money
from haneul.services import keys
from haneul.services.keys import Terms
from haneul.services.prices import Rates
from haneul.services.workers.peer import Peer, worker_socket
from haneul.store import engines, ledger, prices
from haneul.store.database import open_database
from haneul.store.engines import EngineRow
from haneul.store.prices import PriceRow

WORKERS = 3
PRICE_IN, PRICE_OUT = "0.103", "0.407"  # per million, so that costs round
RATES = Rates(
    input_nano=parse_money(PRICE_IN),
    cached_nano=parse_money(PRICE_IN),
    output_nano=parse_money(PRICE_OUT),
)
PROMPT = [{"role": "user", "content": "say it"}]
PROMPT_MAX = len('[{"role":"user","content":"say it"}]') + 512


def requests_in(page):
    """How many requests have ended, as a page of metrics has it."""
    lines = page.decode().splitlines()
    ended = [line for line in lines if line.startswith("haneul_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in ended)


class Crowd:
    """A cloud of several workers on one home, its engine, and clients of it."""

    def __init__(self, process, url=""):
        self.process = process
        self.url = url
        self.web = None
        self._numbers = itertools.count(1)

    @property
    def root(self):
        return f"http://127.0.0.1:{self.process.port}"

    def store(self):
        return open_database(self.url, self.process.home)

    def prepare(self, fake, name="fake", own_slots=None):
        """An engine with a price."""
        self.process.home.mkdir(exist_ok=True)
        listed = msgspec.json.encode(fake.models).decode()
        row = EngineRow(name=name, url=fake.url, models=listed, created_us=1, own_slots=own_slots)
        with closing(self.store()) as store:
            store.run(engines.put, row)
            price = PriceRow(
                id=f"prc_{name}",
                model=prices.ANY_MODEL,
                engine=name,
                currency="USD",
                input_nano=RATES.input_nano,
                cached_nano=RATES.cached_nano,
                output_nano=RATES.output_nano,
                created_us=1,
            )
            store.run(prices.add, price)

    def make_key(self, **terms):
        name = f"key {next(self._numbers)}"
        pepper = keys.read_pepper(self.process.home)
        with closing(self.store()) as store:
            return store.run(
                lambda connection: keys.create(
                    connection, pepper, name, Terms(**terms), actor="test"
                )
            )

    async def start(self, **settings):
        """Returns when all workers answer."""
        settings = {"workers": WORKERS, "database_url": self.url, **settings}
        await self.process.start(*(f"{name}={value}" for name, value in settings.items()))
        await self.all_up()

    async def add(self, fake, **terms):
        """Another engine, which all workers know when this returns."""
        self.prepare(fake, f"engine-{next(self._numbers)}", **terms)
        await self.status()

    async def all_up(self):
        async def are_up():
            return all(each["state"] == "ready" for each in await self.workers())

        await self.process.until(are_up, 20, "all workers answer")

    async def status(self):
        """What the first process says of itself, over its own socket."""
        client, to = Client(), unix(str(cloud_socket(self.process.home)))
        async with await client.send(to, "GET", "/haneul/v1/status") as reply:
            data = await reply.read()
        await client.aclose()
        return msgspec.json.decode(data)

    async def workers(self):
        return (await self.status())["workers"]

    async def counted(self):
        """How many requests each worker has answered."""
        client, config, found = Client(), Config(home=self.process.home), []
        for number in range(1, WORKERS):
            page = await Peer(client, worker_socket(config, number)).ask("/metrics")
            found.append(requests_in(page))
        await client.aclose()
        return found

    async def chat(self, secret, **fields):
        """One request over a connection of its own: status and body."""
        body = {"model": "echo", "messages": PROMPT, **fields}
        headers = {"authorization": f"Bearer {secret}"}
        async with self.web.post(
            f"{self.root}/v1/chat/completions", json=body, headers=headers
        ) as answer:
            return answer.status, await answer.json()

    async def get(self, path, secret, method="GET", **options):
        headers = {"authorization": f"Bearer {secret}", **options.pop("headers", {})}
        async with self.web.request(method, self.root + path, headers=headers, **options) as answer:
            return answer, await answer.read()

    async def me(self, secret):
        _, data = await self.get("/haneul/v1/me", secret)
        return msgspec.json.decode(data)

    async def rows(self, made):
        """Every record of a key; all that have ended are committed."""
        answer, data = await self.get("/haneul/v1/usage", made.secret)
        assert answer.status == 200, data
        return await asyncio.to_thread(self.kept_rows, made)

    def kept_rows(self, made):
        """Every record of a key that is committed."""
        with closing(self.store()) as store:
            return store.run(
                lambda connection: ledger.recent(connection, key_id=made.key.id, limit=100_000)
            )


@asynccontextmanager
async def crowd_at(process, url=""):
    """A crowd whose every request has a connection of its own, spread over the workers."""
    found = Crowd(process, url)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as found.web:
        yield found


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Streamed:
    """What one client saw of its stream."""

    def __init__(self):
        self.id = None
        self.pieces = 0
        self.is_whole = False


async def stream(crowd, secret, seen):
    """One streamed request over a connection of its own, cut off or not."""
    one = Streamed()
    body = {"model": "echo", "messages": PROMPT, "stream": True}
    headers = {"authorization": f"Bearer {secret}"}
    try:
        async with crowd.web.post(
            f"{crowd.root}/v1/chat/completions", json=body, headers=headers
        ) as answer:
            assert answer.status == 200, await answer.text()
            one.id = answer.headers["x-request-id"]
            seen.append(one)
            async for line in answer.content:
                one.pieces += b'"content":"w' in line
                one.is_whole = one.is_whole or line.startswith(b"data: [DONE]")
    except aiohttp.ClientError:
        await asyncio.sleep(0.01)
