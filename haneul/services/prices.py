"""What tokens cost: integer nano-units per million, one rounding per request."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION, rounded, show_time
from haneul.store import audit
from haneul.store import prices as queries
from haneul.store.audit import Who
from haneul.store.prices import PriceRow


class Rates(Struct, frozen=True, rename={"share_millionths": "share"}):  # short: see flights
    """Nano-units per million tokens."""

    input_nano: int = 0
    cached_nano: int = 0
    output_nano: int = 0
    reasoning_nano: int | None = None  # None: as the other tokens of an answer
    unit_nano: int = 0  # for a million of what is billed beside tokens
    share_millionths: int = MILLION  # of all of these that is paid

    @property
    def dearest_output_nano(self) -> int:
        """Of a token of an answer, whichever kind it turns out to be."""
        output, thought = self.output_nano, self.reasoning_nano
        return output if thought is None or thought <= output else thought


class PriceList(Struct, frozen=True):
    """Every price that holds and every one that is to come."""

    now: dict[tuple[str, str], PriceRow]  # by model and engine
    later: dict[tuple[str, str], list[PriceRow]]

    def of(self, model: str, engine: str) -> tuple[PriceRow | None, tuple[PriceRow, ...]]:
        """The price of a model on an engine and those to come; its own go before the engine's."""
        own, of_all = (model, engine), (queries.ANY_MODEL, engine)
        later = self.later.get(own, [])
        if (price := self.now.get(own)) is not None:
            return price, tuple(later)
        before_us = later[0].from_us if later else None
        others = [
            other
            for other in self.later.get(of_all, [])
            if before_us is None or other.from_us < before_us
        ]
        return self.now.get(of_all), (*others, *later)


def read_prices(connection: Connection, *, at_us: int) -> PriceList:
    """The price list as the store holds it at a moment."""
    now = {(row.model, row.engine): row for row in queries.all_in_force(connection, at_us=at_us)}
    later: dict[tuple[str, str], list[PriceRow]] = {}
    for row in queries.upcoming(connection, after_us=at_us):
        later.setdefault((row.model, row.engine), []).append(row)
    return PriceList(now, later)


def rates_of(
    price: PriceRow | None, share_millionths: int = MILLION, *, unit: str | None = None
) -> Rates:
    """The rates of a price, or of a share of it; nothing costs nothing until a price is known.

    `unit`: what a request is billed for beside tokens, where its price is for that.
    """
    if price is None:
        return Rates(share_millionths=share_millionths)
    return Rates(
        price.input_nano,
        price.cached_nano,
        price.output_nano,
        price.reasoning_nano,
        (price.unit_nano or 0) if unit is not None and price.unit == unit else 0,
        share_millionths,
    )


def cost_nano(
    rates: Rates, *, prompt: int, cached: int, completion: int, reasoning: int = 0, units: int = 0
) -> int:
    """The cost of one request. Cached tokens are part of the prompt; reasoning of the completion.

    Rounded half up to a whole nano-unit, once for the sum.
    """
    total = (prompt - cached) * rates.input_nano + completion * rates.output_nano
    if cached:
        total += cached * rates.cached_nano
    if reasoning and rates.reasoning_nano is not None:
        total += min(reasoning, completion) * (rates.reasoning_nano - rates.output_nano)
    if units:
        total += units * rates.unit_nano
    return rounded(total, rates.share_millionths)


def worst_nano(rates: Rates, *, prompt_max: int, completion_max: int, units_max: int = 0) -> int:
    """The most a request can cost: nothing of its prompt cached, every token and unit used."""
    dearest, cached = rates.input_nano, rates.cached_nano
    if cached > dearest:
        dearest = cached
    total = prompt_max * dearest + units_max * rates.unit_nano
    if completion_max:
        total += completion_max * rates.dearest_output_nano
    return rounded(total, rates.share_millionths)


def affordable_tokens(rates: Rates, *, prompt_max: int, remaining_nano: int, limit: int) -> int:
    """How many completion tokens the rest of a budget pays for, at most limit; 0 for none."""
    left = remaining_nano - worst_nano(rates, prompt_max=prompt_max, completion_max=0)
    if left < 0:
        return 0
    dearest = rates.dearest_output_nano * rates.share_millionths
    if dearest == 0:
        return limit
    # Rounding the sum can add one nano-unit, so one is kept back.
    return min(limit, max(0, left - 1) * MILLION * MILLION // dearest)


def set_price(connection: Connection, row: PriceRow, *, actor: Who) -> None:
    """Adds a price that somebody chose. Raises BadRequest for one that begins before now."""
    if row.from_us < row.created_us:
        raise BadRequest(
            "A price cannot begin in the past: requests were billed at another.", param="from"
        )
    if not row.model or not row.engine:
        raise BadRequest("A price is of a model on an engine.", param="model")
    before = queries.in_force(connection, row.model, row.engine)
    queries.add(connection, row)
    said = f"{row.model} on {row.engine} from {show_time(row.from_us)}"
    audit.note(connection, actor, "price.set", row.id, said, before=before, after=row)
