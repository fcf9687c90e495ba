"""The hub of a cloud of several processes, and under a crowd: the real processes, their memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
from contextlib import closing

import aiohttp
import msgspec
import pytest
from hub_models import row_of

from haneul.store import revisions, shelf
from haneul.store.database import open_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOWHERE = "http://127.0.0.1:9/v1"


def prepare(process, content):
    """A home with a model and a key; its secret."""
    made = process.prepare(NOWHERE, ("x",), scopes=("pull", "push"))
    _, row = row_of(process.home, "m", {"m.gguf": content}, "gguf")
    with closing(open_database("", process.home)) as database:
        database.run(revisions.add, row)
    return made.secret


def pulls(process):
    with closing(open_database("", process.home)) as database:
        return database.run(shelf.pulls_of, "m")


async def ended(process):
    """In order, with all that it started."""
    await process.end(signal.SIGTERM)
    await process.process.stdout.read()


def processes_of(parent):
    """A process and those that it started."""
    found = [parent]
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    stat = file.read()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(name))
    return found


def memory_bytes(process):
    """What all processes of a cloud hold that is their own."""
    total = 0
    for number in processes_of(process.process.pid):
        with open(f"/proc/{number}/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
        total += (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return total


@pytest.mark.slow
async def test_files_larger_than_any_body_come_and_go_whichever_process_answers(process):
    content = os.urandom(6 << 20)
    secret = await asyncio.to_thread(prepare, process, content)
    await process.start("workers=3", "body_max_bytes=1048576", "file_max_bytes=1048576")
    root, headers = f"http://127.0.0.1:{process.port}/hub", {"authorization": f"Bearer {secret}"}
    digests, statuses = [], []
    for number in range(9):  # each on a connection of its own
        new = content[:-1] + bytes([number])
        told = {"oid": hashlib.sha256(new).hexdigest(), "size": len(new)}
        async with aiohttp.ClientSession(headers=headers) as web:
            body = msgspec.json.encode({"operation": "upload", "objects": [told]})
            async with web.post(f"{root}/acme/new.git/info/lfs/objects/batch", data=body) as answer:
                (one,) = (await answer.json(content_type=None))["objects"]
            async with web.put(one["actions"]["upload"]["href"], data=io.BytesIO(new)) as answer:
                statuses.append(answer.status)
            async with web.get(f"{root}/haneul/m/resolve/main/m.gguf") as answer:
                digests.append(hashlib.sha256(await answer.read()).hexdigest())
            async with web.delete(f"{root}/haneul/m/resolve/main/m.gguf") as answer:
                assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert statuses == [200] * 9
    assert set(digests) == {hashlib.sha256(content).hexdigest()}
    await ended(process)
    (row,) = await asyncio.to_thread(pulls, process)
    assert (row.pulls, row.bytes) == (9, 9 * len(content)), "every process told what it gave"


@pytest.mark.slow
async def test_three_hundred_pulls_at_once_hold_no_memory(process):
    content = os.urandom(8 << 20)
    secret = await asyncio.to_thread(prepare, process, content)
    await process.start()
    head = (
        "GET /hub/haneul/m/resolve/main/m.gguf HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {secret}\r\n\r\n"
    )
    expected, most = hashlib.sha256(content).hexdigest(), 0
    every_has_begun = asyncio.Barrier(301)

    async def pull():
        reading, writing = await asyncio.open_connection("127.0.0.1", process.port)
        writing.write(head.encode())
        digest = hashlib.sha256()
        answer = await reading.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        await every_has_begun.wait()
        for _ in range(len(content) >> 16):
            digest.update(await reading.readexactly(1 << 16))
        writing.close()
        return digest.hexdigest()

    reading, writing = await asyncio.open_connection("127.0.0.1", process.port)
    writing.write(head.encode())  # one before, so that all is loaded
    await reading.readuntil(b"\r\n\r\n")
    await reading.readexactly(len(content))
    writing.close()
    before = memory_bytes(process)
    pulling = [asyncio.create_task(pull()) for _ in range(300)]
    await every_has_begun.wait()
    while not all(one.done() for one in pulling):
        most = max(most, memory_bytes(process))
        await asyncio.sleep(0.1)
    assert {one.result() for one in pulling} == {expected}
    # What a connection costs, and none of the 2.4 GB; a copy of 256 KiB each would be 75 MiB.
    assert most - before < 40 << 20
    await ended(process)
