"""What a request's head says beside its address, and what an answer's head says of rates."""

from __future__ import annotations

from haneul.base.errors import BadRequest, NotAuthenticated
from haneul.services.call import Call
from haneul.services.keys import Key
from haneul.services.limits import Account
from haneul.services.promise import WITHIN, within_s
from haneul.services.remote import Headers

KEY_HEADERS = (b"authorization", b"x-api-key")
APP = b"x-haneul-app"
PRIORITY = b"x-haneul-priority"
PRIORITIES = ("interactive", "batch", "research")
LIMITS = (
    b"x-ratelimit-limit-%b: %d\r\n"
    b"x-ratelimit-remaining-%b: %d\r\n"
    b"x-ratelimit-reset-%b: %.3fs\r\n"  # until it is full again
)


def terms_of(call: Call, key: Key) -> Headers:
    """What the embedded engine is told beside the request: whose it is, and how urgent.

    Raises BadRequest for an urgency that does not exist, and for a wait that is no duration.
    """
    if WITHIN in call.headers:
        within_s(call)
    priority = call.headers.get(PRIORITY, b"interactive").decode("latin-1")
    if priority not in PRIORITIES:
        raise BadRequest(
            f"'x-haneul-priority' can be {', '.join(PRIORITIES)}.", param="x-haneul-priority"
        )
    return {"x-haneul-owner": key.id, "x-haneul-priority": priority}


def tell_limits(call: Call, account: Account) -> None:
    """Tells the client its rates, by the names that OpenAI gave them."""
    for name, rate in ((b"requests", account.requests), (b"tokens", account.tokens)):
        if rate is not None:
            remaining, full_s = rate.told()
            call.limits += LIMITS % (name, rate.per_minute, name, remaining, name, full_s)


def key_text(call: Call) -> str | None:
    """The key that came in a header, if one did. Raises BadRequest, NotAuthenticated."""
    bearer, plain = call.headers.get(b"authorization"), call.headers.get(b"x-api-key")
    is_double = bearer is not None and plain is not None
    if is_double or (call.repeated and not call.repeated.isdisjoint(KEY_HEADERS)):
        raise BadRequest("Send one API key, in one header.")
    if plain is not None:
        return plain.decode("latin-1")
    if bearer is None:
        return None
    scheme, _, text = bearer.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated("The authorization header must be 'Bearer sk-hn-…'.")
    return text.strip()
