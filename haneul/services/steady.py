"""The memory's bandwidth as this machine was seen at its best, not as it was a moment ago.

Other work on the machine can only make a measurement smaller, and a forecast made of a bandwidth
that was measured beside other work is too low for as long as it is used. Each measurement is kept;
the largest of the newest holds.
"""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import Connection

from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.chips.chip import Chip
from haneul.chips.estimate import scale
from haneul.services.tariff import THOUSANDTHS
from haneul.store import forecasts as queries
from haneul.store.forecasts import MeasurementRow

KIND = "bandwidth"
LOOKS = 16  # the newest that count: memory is changed, a virtual machine moves


def steady(connection: Connection, chip: Chip) -> Chip:
    """The chip with the largest bandwidth that was measured of it of late."""
    if chip.bandwidth is None or chip.kind != "cpu":
        return chip
    known = queries.newest_of_chip(connection, chip=chip.id, kind=KIND, most=LOOKS)
    most = max((row.value / THOUSANDTHS for row in known), default=0.0)
    if most <= chip.bandwidth.mid:
        return chip
    found = scale(chip.bandwidth, most / chip.bandwidth.mid)
    source = f"{found.source}; the most of {len(known)} earlier measurements"
    sources = chip.sources | {"bandwidth": source}
    return replace(chip, bandwidth=replace(found, source=source), sources=sources)


def keep(connection: Connection, chip: Chip) -> Chip:
    """Keeps what was just measured of the chip, and gives it as it is at its best."""
    if chip.bandwidth is not None and chip.kind == "cpu":
        row = MeasurementRow(
            id=new_id("msr"),
            model="",
            digest="",
            chip=chip.id,
            engine_version="",
            kind=KIND,
            value=round(chip.bandwidth.mid * THOUSANDTHS),
            unit="B/s",
            created_us=now_us(),
        )
        queries.add_measurements(connection, [row])
    return steady(connection, chip)
