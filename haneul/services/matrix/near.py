"""Rows of the matrix as a plan shows them."""

from __future__ import annotations

from collections.abc import Iterable

from haneul.chips.plan.seen import Seen
from haneul.services.matrix.row import Entry


def seen(entries: Iterable[Entry]) -> list[Seen]:
    """Those with a size and a speed; without, nothing says what they are like."""
    return [
        Seen(
            model=row.model,
            parameters=row.parameters,
            chip=row.chip,
            engine=row.engine_version or row.engine,
            quantisation=row.quantisation,
            decode=row.decode,
            capacity=row.capacity,
            streams=row.streams,
            prefill=row.prefill,
            count=row.count,
            measured_by=entry.signer_name or "here",
            last_us=row.last_us,
        )
        for entry in entries
        if (row := entry.row).parameters and (row.decode or row.capacity)
    ]
