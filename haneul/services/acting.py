"""Who acts in a request, for the audit."""

from __future__ import annotations

from haneul.services.call import Call
from haneul.services.keys import LOCAL_ID, Key
from haneul.services.sessions import PAGE_HEADER
from haneul.store.audit import Actor


def actor_of(call: Call, key: Key) -> Actor:
    """The key, from where it came, and the request that it sent."""
    who = "local" if key.id == LOCAL_ID else f"key {key.id}"
    is_page = PAGE_HEADER in call.headers
    return Actor(who, f"page at {call.origin}" if is_page else call.origin, call.id)
