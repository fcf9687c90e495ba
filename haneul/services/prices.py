"""What tokens cost: integer nano-units per million, one rounding per request."""

from __future__ import annotations

from msgspec import Struct

from haneul.base.units import token_cost
from haneul.store.prices import PriceRow


class Rates(Struct, frozen=True):
    """Nano-units per million tokens."""

    input_nano: int = 0
    cached_nano: int = 0
    output_nano: int = 0


def rates_of(price: PriceRow | None) -> Rates:
    """The rates of a price; nothing costs nothing until a price is known."""
    if price is None:
        return Rates()
    return Rates(price.input_nano, price.cached_nano, price.output_nano)


def cost_nano(rates: Rates, *, prompt: int, cached: int, completion: int) -> int:
    """The cost of one request. Cached tokens are part of the prompt; reasoning of the completion.

    Rounded half up to a whole nano-unit, once for the sum.
    """
    return token_cost(
        [
            (prompt - cached, rates.input_nano),
            (cached, rates.cached_nano),
            (completion, rates.output_nano),
        ]
    )


def worst_nano(rates: Rates, *, prompt_max: int, completion_max: int) -> int:
    """The most a request can cost: nothing of its prompt cached, every token used."""
    dearest = max(rates.input_nano, rates.cached_nano)
    return token_cost([(prompt_max, dearest), (completion_max, rates.output_nano)])


def affordable_tokens(rates: Rates, *, prompt_max: int, remaining_nano: int, limit: int) -> int:
    """How many completion tokens the rest of a budget pays for, at most limit; 0 for none."""
    left = remaining_nano - worst_nano(rates, prompt_max=prompt_max, completion_max=0)
    if left < 0:
        return 0
    if rates.output_nano == 0:
        return limit
    # Rounding the sum can add one nano-unit, so one is kept back.
    return min(limit, max(0, left - 1) * 1_000_000 // rates.output_nano)
