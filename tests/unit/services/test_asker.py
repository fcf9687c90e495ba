"""Who asks by a head that came before is looked at again where the key's row has changed."""

from __future__ import annotations

import time

import msgspec

from haneul.services.asker import Askers
from haneul.services.call import Call
from haneul.services.keyring import Seen
from haneul.services.keys import Key
from haneul.services.openai import OpenAIErrors

ROW = Key(id="k", name="k", scopes=frozenset({"infer"}))
NARROWER = msgspec.structs.replace(ROW, scopes=frozenset())


class Found:
    """What is known of a head."""

    asker = None


class Keyring:
    """One key, whose row is renewed by the test."""

    clock = staticmethod(time.monotonic)

    def __init__(self):
        self.seen = Seen(ROW)
        self.seen.is_now(ROW, time.monotonic())

    async def look(self, text):
        return self.seen


class Accounts:
    """Reading an account takes a while, in which something happens."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    async def of(self, key):
        self.meanwhile()
        return object()


def call_of(found):
    call = Call(
        None,
        OpenAIErrors(),
        method="POST",
        path="/",
        query="",
        headers={b"authorization": b"Bearer sk"},
        repeated=set(),
        is_local=False,
    )
    call.found = found
    return call


async def asked(meanwhile):
    keyring, found = Keyring(), Found()
    askers = Askers(keyring, None, Accounts(lambda: meanwhile(keyring.seen)), None)
    first = await askers.of(call_of(found))
    return first, askers.at_hand(call_of(found))


async def test_the_same_head_is_asked_by_the_same_while_its_row_stands():
    first, second = await asked(lambda seen: None)
    assert second is first


async def test_a_row_that_changes_while_the_account_is_read_is_not_taken_for_the_old_one():
    first, second = await asked(lambda seen: seen.is_now(NARROWER, time.monotonic()))
    assert first.key.scopes == {"infer"}, "it had begun to ask"
    assert second is None
