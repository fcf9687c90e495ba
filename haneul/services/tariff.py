"""The true price of a token of one's own: what the chip costs by the hour, over what it can do.

A model has a price from the moment it is here, from the forecast of its speed; the first measured
run replaces it. Prices are append-only versions, so that every row of the ledger keeps the one it
was billed at.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.chips.calibrate import Correction, refine
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost, TokenPrice, token_price
from haneul.chips.estimate import Estimate, exactly, show
from haneul.chips.fleet import Fleet
from haneul.chips.shape import Shape
from haneul.chips.speed import decode_speed, prefill_speed
from haneul.services.measure import Speeds
from haneul.services.targets import EMBEDDED
from haneul.store.forecasts import ForecastRow, MeasurementRow
from haneul.store.prices import PriceRow

THOUSANDTHS = 1000


class Forecast(msgspec.Struct, frozen=True):
    """What a model is expected to do on a chip; None where the chip's figures are unknown."""

    prefill: Estimate | None
    decode: Estimate | None  # one stream
    capacity: Estimate | None  # all slots together

    def named(self) -> dict[str, Estimate]:
        """Those that are known, by the kind under which they are kept."""
        kinds = {"prefill": self.prefill, "decode": self.decode, "capacity": self.capacity}
        return {kind: estimate for kind, estimate in kinds.items() if estimate is not None}

    def refined(self, corrections: Mapping[str, Correction]) -> Forecast:
        """The same, moved by what was measured of other models on this chip."""
        moved = {
            kind: refine(estimate, corrections.get(kind)) for kind, estimate in self.named().items()
        }
        return Forecast(moved.get("prefill"), moved.get("decode"), moved.get("capacity"))


def forecast(shape: Shape, chip: Chip, *, slots: int) -> Forecast:
    """From the shape and the chip alone, before a byte is pulled."""
    return Forecast(
        prefill=prefill_speed(shape, chip),
        decode=decode_speed(shape, chip),
        capacity=decode_speed(shape, chip, streams=slots),
    )


def measured(speeds: Speeds) -> Forecast:
    """The same three figures as they turned out."""
    source = "measured here"
    return Forecast(
        prefill=exactly(speeds.prefill, "tok/s", source=source),
        decode=exactly(speeds.decode, "tok/s", source=source),
        capacity=exactly(speeds.capacity, "tok/s", source=source),
    )


def token_cost(fleet: Fleet, hour: HourCost, speeds: Forecast) -> TokenPrice | None:
    """The price of a million tokens at those speeds; None while they are unknown."""
    if speeds.capacity is None or speeds.prefill is None:
        return None
    return token_price(
        hour,
        decode=speeds.capacity,
        prefill=speeds.prefill,
        utilisation=fleet.figures.utilisation_share.value,
        cached_share=fleet.figures.cached_input_share.value,
    )


def price_row(fleet: Fleet, hour: HourCost, *, model: str, speeds: Forecast) -> PriceRow:
    """A new version of a model's price; zero, and said so, while its speed is unknown."""
    cost = token_cost(fleet, hour, speeds)
    basis = {
        "source": speeds.decode.source if speeds.decode else "unknown speed: not priced yet",
        "speeds": {kind: show(estimate) for kind, estimate in speeds.named().items()},
        "hour": {"basis": hour.basis, "source": hour.source, "dated": fleet.dated},
        "utilisation_share": fleet.figures.utilisation_share.value,
    }
    return PriceRow(
        id=new_id("prc"),
        model=model,
        engine=EMBEDDED,
        currency=hour.currency,
        input_nano=cost.input.mid_nano if cost else 0,
        cached_nano=cost.cached_input.mid_nano if cost else 0,
        output_nano=cost.output.mid_nano if cost else 0,
        hour_nano=hour.total_nano,
        basis=msgspec.json.encode(basis).decode(),
        created_us=now_us(),
    )


def forecast_rows(model: str, digest: str | None, chip: Chip, said: Forecast) -> list[ForecastRow]:
    """The forecast as it is kept, to be scored later."""
    return [
        ForecastRow(
            id=new_id("fct"),
            model=model,
            digest=digest,
            chip=chip.id,
            kind=kind,
            low=round(estimate.low * THOUSANDTHS),
            mid=round(estimate.mid * THOUSANDTHS),
            high=round(estimate.high * THOUSANDTHS),
            unit=estimate.unit,
            source=estimate.source,
            created_us=now_us(),
        )
        for kind, estimate in said.named().items()
    ]


def measurement_rows(
    model: str, digest: str, chip: Chip, engine_version: str, speeds: Speeds
) -> list[MeasurementRow]:
    """The measurement as it is kept."""
    return [
        MeasurementRow(
            id=new_id("msr"),
            model=model,
            digest=digest,
            chip=chip.id,
            engine_version=engine_version,
            kind=kind,
            value=round(estimate.mid * THOUSANDTHS),
            unit=estimate.unit,
            created_us=now_us(),
        )
        for kind, estimate in measured(speeds).named().items()
    ]
