"""When an answer would begin: the engine's waking and its queue, promised with an interval.

A client says how long it waits with `x-haneul-within-s`; the timeout that OpenAI's and Anthropic's
SDKs send is understood too. An engine that could not begin even at the best end of its promise is
not waited for: another one is asked, or the client is told when to come again.
"""

from __future__ import annotations

from haneul.base.errors import BadRequest
from haneul.chips.estimate import Estimate, plus
from haneul.services.call import Call
from haneul.services.gate import Full, Gate
from haneul.services.targets import Target

WITHIN = b"x-haneul-within-s"
SDK = (b"x-stainless-read-timeout", b"x-stainless-timeout")
PROMISED = b"x-haneul-promised-s: %.1f; low=%.1f; high=%.1f\r\n"
SPREAD = 2.0  # of a queue, whose requests are longer or shorter than those of late
RETRY_MAX_S = 600.0
SOURCE = "the stays of late times those before it"


class Late(Full):
    """This model's engine would begin later than the client waits."""


def promised(target: Target) -> Estimate | None:
    """Seconds until an answer would begin there; None where it is now, or nothing is known."""
    gate, awake = target.gate, target.awake
    if gate.has_place and (awake is None or target.is_ready):
        return None
    queued = _queued(gate)
    waking = awake.forecast() if awake is not None else None
    if queued is None or (awake is not None and waking is None):
        return None
    return queued if waking is None or not waking.high else plus(queued, waking)


def _queued(gate: Gate) -> Estimate | None:
    wait_s = gate.wait_s
    if wait_s is None:
        return None
    return Estimate(low=wait_s / SPREAD, mid=wait_s, high=wait_s * SPREAD, unit="s", source=SOURCE)


def line(promise: Estimate | None) -> bytes:
    """The line of an answer's head that says what was promised when the request came."""
    return b"" if promise is None else PROMISED % (promise.mid, promise.low, promise.high)


def within_s(call: Call) -> float | None:
    """How long the client waits, counted from now; None where it does not say.

    Raises BadRequest for what is no duration.
    """
    headers = call.headers
    said = headers.get(WITHIN)
    if said is None:
        said = next((headers[name] for name in SDK if name in headers), None)
        if said is None:
            return None
        seconds = _seconds(said)
    elif (seconds := _seconds(said)) is None:
        raise BadRequest("'x-haneul-within-s' is a number of seconds.", param="x-haneul-within-s")
    passed_s = (call.now_us() - call.received_us) / 1e6
    return None if seconds is None else seconds - passed_s


def _seconds(said: bytes) -> float | None:
    try:
        seconds = float(said)
    except ValueError:
        return None
    return seconds if 0 < seconds < 1e9 else None


def is_late(promise: Estimate | None, wait_s: float | None) -> bool:
    """Whether an answer would begin after the client has gone, even at best."""
    return promise is not None and wait_s is not None and promise.low > wait_s


def check(target: Target, promise: Estimate, wait_s: float | None) -> None:
    """Raises Late where the engine would begin too late, with the time to come again.

    One that sleeps is woken, so that it is there then.
    """
    if not is_late(promise, wait_s):
        return
    if target.awake is not None:
        target.awake.wake(RETRY_MAX_S)
    raise Late(
        f"The engine of this model begins in about {promise.mid:.0f} s "
        f"({promise.low:.0f} to {promise.high:.0f}), later than you wait.",
        retry_after_s=retry_after_s(promise),
    )


def retry_after_s(promise: Estimate) -> float:
    """When it is worth to come again."""
    return min(max(1.0, promise.high), RETRY_MAX_S)
