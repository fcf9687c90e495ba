"""What is foretold of an engine when it starts, and what that says of one request.

Decoding is said for some numbers of answers at once, behind an empty and a full context. A step's
seconds grow evenly with both, as far as the forecast goes, so what lies between is read off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from haneul.base.units import NANO
from haneul.chips.chip import Chip
from haneul.chips.cost import Price, TokenPrice
from haneul.chips.estimate import Estimate, invert, plus
from haneul.chips.footprint import footprint
from haneul.chips.shape import Shape
from haneul.chips.speed import decode_speed
from haneul.services import tariff
from haneul.services.learned import Learned

STREAMS = (1, 2, 4, 8, 16, 32, 64)
PROMPT_TOKENS = 512  # of the prompt whose first token is foretold
DECODE, PREFILL, TTFT, MEMORY = "decode", "prefill", "ttft", "memory"


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One figure: decode (tok/s of all streams), prefill, ttft, memory, price_input and so on."""

    kind: str
    estimate: Estimate
    streams: int = 1
    context_tokens: int = 0  # behind each stream; of ttft: tokens of the prompt


def foretell(
    shape: Shape,
    chip: Chip,
    *,
    slots: int,
    context_tokens: int,
    learned: Learned,
    engine_version: str = "",
) -> list[Said]:
    """Speed, waiting time and memory of an engine with so many slots, as far as they are known."""
    found = [
        Said(
            kind=MEMORY,
            estimate=footprint(shape, context_tokens=context_tokens, slots=slots).total,
            streams=slots,
            context_tokens=context_tokens,
        )
    ]
    for streams in sorted({*(each for each in STREAMS if each < slots), slots}):
        for behind in (0, context_tokens):
            speed = decode_speed(shape, chip, streams=streams, context_tokens=behind)
            if speed is not None:
                speed = learned.decode(speed, streams=streams, engine_version=engine_version)
                found.append(
                    Said(kind=DECODE, estimate=speed, streams=streams, context_tokens=behind)
                )
    prefill = tariff.forecast(shape, chip, slots=slots).prefill
    if prefill is not None:
        refined = learned.prefill(prefill, engine_version=engine_version)
        found.append(Said(kind=PREFILL, estimate=refined))
    first = ttft(found, PROMPT_TOKENS)
    if first is not None:
        found.append(Said(kind=TTFT, estimate=first, context_tokens=PROMPT_TOKENS))
    return found


def prices(cost: TokenPrice | None) -> list[Said]:
    """A million tokens of each kind; none while the speed is unknown."""
    if cost is None:
        return []
    parts = {"input": cost.input, "cached": cost.cached_input, "output": cost.output}
    return [
        Said(kind=f"price_{name}", estimate=_money(price, cost)) for name, price in parts.items()
    ]


def _money(price: Price, cost: TokenPrice) -> Estimate:
    return Estimate(
        low=price.low_nano / NANO,
        mid=price.mid_nano / NANO,
        high=price.high_nano / NANO,
        unit=f"{cost.currency}/1M tokens",
        source=cost.source,
    )


def one(said: Iterable[Said], kind: str) -> Estimate | None:
    """The figure of a kind that has one; None where it was not said."""
    return next((each.estimate for each in said if each.kind == kind), None)


def decode(said: Iterable[Said], *, streams: int, context_tokens: float) -> Estimate | None:
    """Tokens per second of so many streams together with so much behind each; None if unsaid."""
    known = [each for each in said if each.kind == DECODE]
    behind = sorted({each.context_tokens for each in known})
    if not behind or not behind[0] <= context_tokens:
        return None
    near, far = behind[0], behind[-1]
    least = _of_streams([each for each in known if each.context_tokens == near], streams)
    most = _of_streams([each for each in known if each.context_tokens == far], streams)
    if least is None or most is None:
        return None
    share = min(1.0, (context_tokens - near) / (far - near)) if far > near else 0.0
    return _between(least, most, share, one_work=1.0, other_work=1.0, work=1.0)


def ttft(said: Sequence[Said], prompt_tokens: float) -> Estimate | None:
    """Seconds to the first token of one request alone: the prompt is read, a token is made."""
    prefill, speed = one(said, PREFILL), decode(said, streams=1, context_tokens=0)
    if prefill is None or speed is None or not (prefill.low > 0 and speed.low > 0):
        return None
    return plus(invert(prefill, prompt_tokens, unit="s"), invert(speed, 1.0, unit="s"))


def _of_streams(known: list[Said], streams: int) -> Estimate | None:
    """Between the two numbers of streams that were said; None beyond them."""
    below = max((each for each in known if each.streams <= streams), key=_streams, default=None)
    above = min((each for each in known if each.streams >= streams), key=_streams, default=None)
    if below is None or above is None:
        return None
    if below.streams == above.streams:
        return below.estimate
    share = (streams - below.streams) / (above.streams - below.streams)
    return _between(
        below.estimate,
        above.estimate,
        share,
        one_work=below.streams,
        other_work=above.streams,
        work=streams,
    )


def _streams(each: Said) -> int:
    return each.streams


def _between(
    one: Estimate, other: Estimate, share: float, *, one_work: float, other_work: float, work: float
) -> Estimate:
    """Work over the seconds that lie between those of two speeds, end by end."""

    def speed(left: float, right: float) -> float:
        if not (left > 0 and right > 0):
            return 0.0
        return work / ((1 - share) * one_work / left + share * other_work / right)

    low, mid, high = (
        speed(one.low, other.low),
        speed(one.mid, other.mid),
        speed(one.high, other.high),
    )
    return Estimate(
        low=min(low, mid), mid=mid, high=max(mid, high), unit=one.unit, source=one.source
    )
