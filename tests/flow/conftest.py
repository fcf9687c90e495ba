"""Clouds that run inside the test, with fake engines that count and fail on demand.

cloud         one for all tests of a module; keys and engines of their own keep tests apart
key           a key on it without limits
start_cloud   starts others: `await start_cloud(queue_max=1)`, each on a home of its own
process       one in a process of its own, to kill and to limit; lasting_process: one for a module
log           what is logged meanwhile, as `log.lines`
postgres      a PostgreSQL server, for clouds that keep their store there
The loop is uvloop, as in production; the tests of a module share one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai
import pytest
import pytest_asyncio
import uvloop

from haneul.base.config import load
from haneul.base.ids import new_id
from haneul.base.units import now_us, parse_money
from haneul.cloud import Cloud
from haneul.services import keys
from haneul.services.keys import Made, Terms
from haneul.store import engines, ledger, prices
from haneul.store.database import open_database
from haneul.store.engines import EngineRow
from haneul.store.ledger import RequestRow
from haneul.store.prices import PriceRow
from haneul.testing.engine import FakeEngine, Faults
from haneul.testing.postgres import Postgres
from tests.log_lines import Lines

SERVE = Path(__file__).parent / "serve_cloud.py"
SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))  # of a busy machine, for deadlines
PRICE_IN, PRICE_CACHED, PRICE_OUT = "0.103", "0.011", "0.407"  # per million, so that costs round
ENGINE_TERMS = ("price", "own_slots", "shares_prefixes", "thinking_field")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


async def until(
    is_so: Callable[[], bool | Awaitable[bool]], within_s: float = 2.0, what: str = "it is so"
) -> float:
    """Seconds until the condition holds; fails when that takes too long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        found = is_so()
        if found if isinstance(found, bool) else await found:
            return loop.time() - began
        assert loop.time() - began < within_s * SLOWNESS, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


class RunningCloud:
    """A cloud, and short ways to make its keys and engines and to read its ledger."""

    until = staticmethod(until)
    cheaper = ("0.102", "0.011", "0.406")  # than the others: of an engine that is asked first

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.root = f"http://127.0.0.1:{cloud.port}"
        self._numbers = itertools.count(1)
        self._fakes: list[FakeEngine] = []
        self._clients: list[openai.AsyncOpenAI] = []

    async def aclose(self) -> None:
        """Ends the engines and the clients; the cloud is closed by who started it."""
        await asyncio.gather(*(client.close() for client in self._clients))
        await asyncio.gather(*(fake.__aexit__(None, None, None) for fake in self._fakes))

    # keys and engines
    async def make_key(self, **terms: Any) -> Made:
        """A new key; its budget is said as people say it."""
        if "budget" in terms:
            terms["budget_nano"] = parse_money(terms.pop("budget"))
        pepper = keys.read_pepper(self.cloud.config.home)
        name = f"key {next(self._numbers)}"
        return await self.cloud.database.call(
            lambda connection: keys.create(connection, pepper, name, Terms(**terms), actor="test")
        )

    async def add_engine(
        self, *, name: str = "", models: tuple[str, ...] = (), **options: Any
    ) -> FakeEngine:
        """A running fake engine that this cloud knows; its one model has a name of its own."""
        name = name or f"engine-{next(self._numbers)}"
        terms = {term: options.pop(term) for term in ENGINE_TERMS if term in options}
        faults = Faults(**{f: options.pop(f) for f in Faults.__struct_fields__ if f in options})
        fake = FakeEngine(faults=faults, models=models or (f"model-of-{name}",), **options)
        self._fakes.append(await fake.__aenter__())
        await self.put_engine(name, fake.url, fake.models, **terms)
        return fake

    async def put_engine(
        self,
        name: str,
        url: str,
        models: tuple[str, ...],
        price: tuple[str, str, str] = (PRICE_IN, PRICE_CACHED, PRICE_OUT),
        **terms: Any,
    ) -> None:
        """What `haneul engines add` does."""
        row = msgspec.structs.replace(engine_row(name, url, models), **terms)
        price_now = price_row(name, price)
        await self.cloud.database.call(engines.put, row)
        await self.cloud.database.call(prices.add, price_now)
        await self.cloud.roster.refresh()

    # asking
    def client(self, secret: str) -> openai.AsyncOpenAI:
        """The genuine client; it does not try again."""
        client = openai.AsyncOpenAI(
            base_url=self.cloud.base_url, api_key=secret, max_retries=0, timeout=30
        )
        self._clients.append(client)
        return client

    async def ask(
        self, method: str, path: str, body: Any = None, *, secret: str = "", **headers: str
    ) -> Answer:
        """One request over plain HTTP; bytes are sent as they are."""
        if secret:
            headers = {"authorization": f"Bearer {secret}", **headers}
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as web,
            web.request(
                method,
                self.root + path,
                data=data,
                headers={"content-type": "application/json", **headers},
                skip_auto_headers=("accept-encoding",),
            ) as answer,
        ):
            return Answer(answer.status, answer.headers.copy(), await answer.read())

    async def chat(self, secret: str, model: str, text: str = "say it", **fields: Any) -> Answer:
        """One chat over plain HTTP."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return await self.ask("POST", "/v1/chat/completions", body, secret=secret)

    # the ledger
    async def row(self, request_id: str) -> RequestRow:
        """The terminal record of a request, once its call has ended."""
        await self.settle()
        row = await self.cloud.database.ask(
            lambda connection: ledger.find(connection, request_id, key_id=None)
        )
        assert row is not None, f"{request_id} has no record"
        return row

    async def rows(self, key_id: str) -> list[RequestRow]:
        """Every record of a key, oldest first."""
        await self.settle()
        found = await self.cloud.database.ask(
            lambda connection: ledger.recent(connection, key_id=key_id, limit=10_000)
        )
        return found[::-1]

    async def settle(self, within_s: float = 5.0) -> None:
        """Returns when no call runs and every record is committed."""
        calls = self.cloud.gateway.calls
        await self.until(lambda: len(calls) == 0, within_s, "all calls have ended")
        await self.cloud.ledger.flush()

    async def me(self, secret: str) -> dict[str, Any]:
        """What the cloud tells a key of itself: spent, reserved, budget."""
        answer = await self.ask("GET", "/haneul/v1/me", secret=secret)
        assert answer.status == 200, answer.data
        return answer.json()  # type: ignore[no-any-return]

    @staticmethod
    def cost(prompt: int, completion: int, cached: int = 0) -> int:
        """Nano-units at the prices above, by fractions instead of the ledger's integers."""
        nano = (
            (prompt - cached) * Fraction(PRICE_IN)
            + cached * Fraction(PRICE_CACHED)
            + completion * Fraction(PRICE_OUT)
        ) * 1000
        return int(nano + Fraction(1, 2))


class Answer:
    """A whole HTTP answer."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data

    @property
    def id(self) -> str:
        return self.headers["x-request-id"]

    def json(self) -> Any:
        return msgspec.json.decode(self.data)

    def error(self) -> dict[str, Any]:
        """The error, after a check that it has OpenAI's shape."""
        error = self.json()["error"]
        assert {"message", "type", "param", "code"} <= error.keys(), error
        assert error["message"]
        assert all(isinstance(error[name], str) for name in ("message", "type", "code"))
        return error  # type: ignore[no-any-return]

    def events(self) -> list[str]:
        """The data of each server-sent event."""
        parts = self.data.decode().split("\n\n")
        return [part.removeprefix("data: ") for part in parts if part.startswith("data: ")]


class CloudProcess:
    """A cloud in a process of its own, on a home that outlives it: see serve_cloud.py."""

    until = staticmethod(until)

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = self.recovered = 0
        self.process: asyncio.subprocess.Process | None = None
        self._log = home.parent / "log"

    async def start(self, *settings: str, script: Path = SERVE, **environ: str) -> None:
        """Returns when it listens."""
        with self._log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                str(self.home),
                *settings,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                env={**os.environ, **environ},
            )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line, self._log.read_text()[-2000:]
        self.port, self.recovered = map(int, line.split())

    async def end(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await asyncio.wait_for(self.process.wait(), 60)

    def prepare(
        self, url: str, models: tuple[str, ...], *, key_file: str | None = None, **terms: Any
    ) -> Made:
        """An engine, its price and a key in the home's store, as commands put them there."""
        self.home.mkdir()
        database = open_database("", self.home)
        database.run(engines.put, engine_row("fake", url, models, key_file))
        database.run(prices.add, price_row("fake", (PRICE_IN, PRICE_CACHED, PRICE_OUT)))
        pepper = keys.read_pepper(self.home)
        made = database.run(
            lambda connection: keys.create(connection, pepper, "k", Terms(**terms), actor="test")
        )
        database.close()
        return made

    def rows(self) -> list[dict[str, Any]]:
        """Every record, as the file holds it."""
        with closing(sqlite3.connect(self.home / "haneul.db")) as connection:
            connection.row_factory = sqlite3.Row
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            return [dict(row) for row in connection.execute("SELECT * FROM request")]


def engine_row(
    name: str, url: str, models: tuple[str, ...], key_file: str | None = None
) -> EngineRow:
    listed = msgspec.json.encode(models).decode()
    return EngineRow(name=name, url=url, key_file=key_file, models=listed, created_us=now_us())


def price_row(engine: str, price: tuple[str, str, str]) -> PriceRow:
    price_in, price_cached, price_out = (parse_money(amount) for amount in price)
    return PriceRow(
        id=new_id("prc"),
        model=prices.ANY_MODEL,
        engine=engine,
        currency="USD",
        input_nano=price_in,
        cached_nano=price_cached,
        output_nano=price_out,
        created_us=now_us(),
    )


async def run_cloud(stack: AsyncExitStack, **settings: Any) -> RunningCloud:
    """A cloud on a home of its own, until the stack is closed."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hn-")))
    flags = {"home": home / "home", "port": 0, "tune": False, **settings}
    cloud = Cloud(load(flags, {"XDG_CONFIG_HOME": str(home)}).config)
    await stack.enter_async_context(cloud)
    running = RunningCloud(cloud)
    stack.push_async_callback(running.aclose)
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def process(short_folder: Path) -> AsyncIterator[CloudProcess]:
    cloud = CloudProcess(short_folder / "home")
    yield cloud
    await cloud.end()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_process() -> AsyncIterator[CloudProcess]:
    with tempfile.TemporaryDirectory(prefix="hn-") as folder:
        cloud = CloudProcess(Path(folder) / "home")
        yield cloud
        await cloud.end()
        if cloud.process is not None and cloud.process.stdout is not None:
            await cloud.process.stdout.read()  # to its end, before the loop is closed


@pytest.fixture
def log() -> Iterator[Lines]:
    with Lines() as lines:
        yield lines


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


StartCloud = Callable[..., Awaitable[RunningCloud]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud() -> AsyncIterator[RunningCloud]:
    async with AsyncExitStack() as stack:
        yield await run_cloud(stack)


@pytest_asyncio.fixture(loop_scope="module")
async def key(cloud: RunningCloud) -> Made:
    return await cloud.make_key()


@pytest_asyncio.fixture(loop_scope="module")
async def start_cloud() -> AsyncIterator[StartCloud]:
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> RunningCloud:
            return await run_cloud(stack, **settings)

        yield start
