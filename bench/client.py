"""Asks, in a process of its own: `python -m bench.client` reads a plan from stdin, prints JSON.

A plan is {"work": "alternate" | "saturate" | "hang_up", "cores": […], …}; the functions of these
names say what else is in it. Raw protocol on uvloop with kept connections, so that little of the
time is this client's.
`run` does all of that from another process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any

import httptools
import uvloop

ANSWER_S = 60.0
PATH = "/v1/chat/completions"


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time; `done` holds the future of its answer."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.done: asyncio.Future[None] | None = None
        self.began = 0.0
        self.first_s = 0.0  # from the request to the answer's first bytes of body
        self.total_s = 0.0
        self.reads = 0
        self.events = 0
        self.is_good = False
        self._last = b""
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, request: bytes) -> asyncio.Future[None]:
        """Sends it; the future is done when the answer has ended."""
        self.done = asyncio.get_running_loop().create_future()
        self.events = self.reads = 0
        self.first_s = 0.0
        self.began = time.perf_counter()
        self.transport.write(request)
        return self.done

    # asyncio.Protocol
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_good = False
        self._end()

    # httptools
    def on_body(self, data: bytes) -> None:
        if not self.first_s:
            self.first_s = time.perf_counter() - self.began
        self.events += data.count(b"\n\n")
        self._last = data

    def on_message_complete(self) -> None:
        self.total_s = time.perf_counter() - self.began
        is_ended = not self.events or self._last.endswith(b"data: [DONE]\n\n")
        self.is_good = self._parser.get_status_code() == 200 and is_ended
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._parser = httptools.HttpResponseParser(self)
        self._end()

    def _end(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


class Target:
    """An address and the bytes of the request it is sent.

    {"port": of this machine, or "uds": path, "headers": {…}, "body": the JSON of a chat}
    """

    def __init__(self, to: dict[str, Any]) -> None:
        self._to = to
        body = json.dumps(to["body"]).encode()
        headers = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **to.get("headers", {}),
        }
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self.request = f"POST {PATH} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if uds := self._to.get("uds"):
            _, made = await loop.create_unix_connection(Connection, uds)
        else:
            _, made = await loop.create_connection(Connection, "127.0.0.1", self._to["port"])
        return made


async def alternate(plan: dict[str, Any]) -> dict[str, Any]:
    """One request to each target in turn, `rounds` times, one at a time.

    plan: targets by name, rounds, warm_up (rounds), interval_s (from request to request; 0: each
    at once after the one before).
    Gives for each target the seconds to the first body byte and to the end, round by round, and how
    many answers were not good.
    """
    asked = [(name, Target(to)) for name, to in plan["targets"].items()]
    connections = {name: await target.connect() for name, target in asked}
    found: dict[str, Any] = {name: {"first_s": [], "total_s": [], "errors": 0} for name, _ in asked}
    due = time.perf_counter()
    for number in range(-plan["warm_up"], plan["rounds"]):
        turn = number % len(asked)  # nobody is always the first, or the last
        for name, target in asked[turn:] + asked[:turn]:
            due += plan["interval_s"]
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            if connections[name].transport.is_closing():  # closed after the answer before
                connections[name] = await target.connect()
            connection = connections[name]
            async with asyncio.timeout(ANSWER_S):
                await connection.ask(target.request)
            result = found[name]
            result["errors"] += not connection.is_good
            if number >= 0:
                result["first_s"].append(connection.first_s)
                result["total_s"].append(connection.total_s)
    return found


async def saturate(plan: dict[str, Any]) -> dict[str, Any]:
    """Keeps `connections` requests going for `seconds`, each followed by the next at once.

    plan: target, connections, seconds. Gives how many requests were answered, with how many events
    in how many reads; errors; the seconds it took; the latencies' median and p99.
    """
    target = Target(plan["target"])
    counts = {"requests": 0, "errors": 0, "events": 0, "reads": 0}
    latencies: list[float] = []
    began = time.perf_counter()
    until = began + plan["seconds"]

    async def keep_asking() -> None:
        connection = await target.connect()
        while time.perf_counter() < until:
            if connection.transport.is_closing():
                connection = await target.connect()
            await connection.ask(target.request)
            counts["requests"] += 1
            counts["errors"] += not connection.is_good
            counts["events"] += connection.events
            counts["reads"] += connection.reads
            latencies.append(connection.total_s)
        connection.transport.close()

    async with asyncio.timeout(plan["seconds"] + ANSWER_S), asyncio.TaskGroup() as group:
        for _ in range(plan["connections"]):
            group.create_task(keep_asking())
    latencies.sort()
    return {
        **counts,
        "seconds": time.perf_counter() - began,
        "median_s": latencies[len(latencies) // 2],
        "p99_s": latencies[int(len(latencies) * 0.99)],
    }


async def hang_up(plan: dict[str, Any]) -> dict[str, Any]:
    """Asks `requests` times, `connections` at a time, and goes away at the answer's first bytes.

    plan: target, connections, requests. Gives how many were left so.
    """
    target, left = Target(plan["target"]), plan["requests"]

    async def ask_and_leave() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            connection = await target.connect()
            answered = connection.ask(target.request)
            while not connection.reads and not answered.done():  # noqa: ASYNC110
                await asyncio.sleep(0)
            connection.transport.abort()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan["connections"]):
            group.create_task(ask_and_leave())
    return {"requests": plan["requests"]}


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """What a client process says to the plan. Raises CalledProcessError."""
    client = [sys.executable, "-m", "bench.client"]
    done = subprocess.run(
        client, input=json.dumps(plan).encode(), stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    plan = json.load(sys.stdin)
    os.sched_setaffinity(0, plan["cores"])
    work = {"alternate": alternate, "saturate": saturate, "hang_up": hang_up}[plan["work"]]
    print(json.dumps(uvloop.run(work(plan))))


if __name__ == "__main__":
    main()
