"""Who acts in a request, for the audit."""

from __future__ import annotations

from haneul.services.call import Call
from haneul.services.keys import LOCAL_ID, Key
from haneul.store.audit import Actor


def actor_of(call: Call, key: Key) -> Actor:
    """The key, from where it came, and the request that it sent."""
    who = "local" if key.id == LOCAL_ID else f"key {key.id}"
    return Actor(who, call.origin, call.id)
