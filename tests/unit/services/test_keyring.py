"""How long a key is believed, and that a request with a known one waits for no database."""

from __future__ import annotations

import asyncio
import threading

import pytest

from haneul.base.errors import NotAuthenticated
from haneul.services import keys
from haneul.services.keyring import FRESH_S, RENEW_S, Keyring
from haneul.services.keys import Terms
from haneul.store.database import open_database

PEPPER = b"p" * 32
WITHIN_S = 20.0


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def keyring(database, clock):
    made = Keyring(database, PEPPER, clock)
    yield made
    await made.aclose()


@pytest.fixture
def secret(database):
    made = database.run(lambda c: keys.create(c, PEPPER, "mine", Terms(), actor="test"))
    return made.secret


def revoke(database):
    database.run(lambda connection: keys.revoke(connection, "mine", actor="test"))


async def verify_for_ever(keyring, secret):
    while True:  # the clock stands still: what changes was read meanwhile
        await asyncio.sleep(0.01)
        await keyring.verify(secret)


async def test_a_key_that_was_revoked_is_refused_after_its_second(keyring, database, clock, secret):
    assert (await keyring.verify(secret)).name == "mine"
    revoke(database)
    clock.now_s += FRESH_S + 0.01
    with pytest.raises(NotAuthenticated, match="revoked"):
        await keyring.verify(secret)


async def test_a_key_in_use_is_read_again_before_a_request_has_to_wait_for_it(
    keyring, database, clock, secret
):
    await keyring.verify(secret)
    revoke(database)
    clock.now_s += RENEW_S + 0.01
    assert (await keyring.verify(secret)).is_live  # within its second, as it was known
    with pytest.raises(NotAuthenticated, match="revoked"):
        await asyncio.wait_for(verify_for_ever(keyring, secret), WITHIN_S)


async def test_a_request_with_a_key_that_is_read_again_does_not_wait_for_the_database(
    keyring, database, clock, secret
):
    await keyring.verify(secret)
    held, let_go = threading.Semaphore(0), threading.Event()

    def hold(_connection):
        held.release()
        let_go.wait(WITHIN_S)

    readers = [asyncio.create_task(database.ask(hold)) for _ in range(2)]
    await asyncio.to_thread(lambda: (held.acquire(), held.acquire()))
    try:
        clock.now_s += RENEW_S + 0.01
        async with asyncio.timeout(WITHIN_S / 2):
            assert (await keyring.verify(secret)).name == "mine"
    finally:
        let_go.set()
        await asyncio.gather(*readers)
