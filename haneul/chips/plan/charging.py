"""From what a request costs to a price of its tokens, so that the parts add up to the whole.

A request takes its part of the chips' hour. The part that computes its prompt pays for input tokens
that no cache had, and for cached ones at a share of them; the rest pays for output tokens.
"""

from __future__ import annotations

from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION
from haneul.chips.estimate import Estimate, exactly, invert, scale, times
from haneul.chips.plan.terms import Load, Prediction

HOUR_S = 3600
CACHED_SHARE = 0.1  # of an input token: it skips the prefill, holds memory and is attended to


class TokenMoney(Struct, frozen=True, kw_only=True):
    """Money for a million tokens of each kind, and for one request."""

    input: Estimate
    cached: Estimate
    output: Estimate
    request: Estimate


def charge(
    load: Load,
    *,
    hour: Estimate,
    tokens_per_s: Estimate,
    input_share: float,
    utilisation: float = 1.0,
    cached_share: float = CACHED_SHARE,
) -> TokenMoney:
    """Prices of tokens on chips of that hour that make so many output tokens a second.

    input_share of the cost is the prompts'. Raises BadRequest for a share out of range.
    """
    if not 0 < utilisation <= 1 or not 0 <= input_share <= 1 or not 0 <= cached_share <= 1:
        raise BadRequest("Shares lie between 0 and 1, and utilisation is above 0.")
    if load.osl < 1 or tokens_per_s.low <= 0:
        raise BadRequest("A price of tokens needs output tokens and a speed above zero.")
    slowness = invert(tokens_per_s, load.osl / (HOUR_S * utilisation), unit="h")
    request = times(hour, slowness, unit=f"{hour.unit}/request")
    fresh = load.isl * (1 - load.cache_hit)
    counted = fresh + cached_share * load.isl * load.cache_hit
    share = input_share if counted > 0 else 0.0
    unit = f"{hour.unit}/1M"
    nothing = exactly(0.0, unit, source=request.source)
    paid = scale(request, share * MILLION / counted, unit=unit) if counted > 0 else nothing
    return TokenMoney(
        input=paid,
        cached=scale(paid, cached_share),
        output=scale(request, (1 - share) * MILLION / load.osl, unit=unit),
        request=request,
    )


def prompt_share(load: Load, found: Prediction) -> float:
    """Which part of an aggregated deployment's time its prompts take.

    A step without its prompts is what output tokens need; prompts take what the deployment would
    compute them in alone.
    """
    step_s = sum(seconds for name, seconds in found.terms.items() if name != "prompts")
    output_s = load.osl * step_s / (found.batch * (1 + load.acceptance))
    input_s = load.isl / found.prefill_tokens_per_s.mid if load.isl else 0.0
    return input_s / (input_s + output_s)
