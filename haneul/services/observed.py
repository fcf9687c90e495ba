"""What models did on this chip, each beside the forecast as it would be without any correction."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate
from haneul.chips.shape import Shape
from haneul.models import hub
from haneul.services import tariff
from haneul.services.learned import CAPACITY, DECODE, PREFILL, kernel_of
from haneul.services.specs import slots_of
from haneul.services.tariff import THOUSANDTHS
from haneul.store import forecasts as queries
from haneul.store import models as model_queries
from haneul.store.models import ModelRow

KINDS = (DECODE, CAPACITY, PREFILL)
NEWEST = 200  # of each figure of each model file: what is older was another release mostly


class Observed(Struct, frozen=True, kw_only=True):
    """One measurement; model tells models apart, not their formats."""

    model: str
    name: str
    digest: str
    quantisation: str
    kernel: str
    kind: str
    forecast: Estimate
    measured: float
    at_us: int


def observed(connection: Connection, chip: Chip, config: Config) -> list[Observed]:
    """Every measured speed of a model that is here, the newest of each, oldest first."""
    models = {row.digest: row for row in model_queries.every(connection)}
    found, shapes = [], _shapes(models.values())
    for row in queries.newest_of_files(
        connection, digests=shapes, chip=chip.id, kinds=KINDS, most=NEWEST
    ):
        shape = shapes[row.digest]
        slots = slots_of(config, shape, chip.memory_bytes)
        said = tariff.forecast(shape, chip, slots=slots).named().get(row.kind)
        if said is not None and row.value > 0:
            found.append(
                Observed(
                    model=same_model(shape),
                    name=row.model,
                    digest=row.digest,
                    quantisation=shape.quantisation,
                    kernel=kernel_of(row.engine_version),
                    kind=row.kind,
                    forecast=said,
                    measured=row.value / THOUSANDTHS,
                    at_us=row.created_us,
                )
            )
    return found


def _shapes(rows: Iterable[ModelRow]) -> dict[str, Shape]:
    """By digest; without those that cannot be read, of which no forecast can be made."""
    found = {}
    for row in rows:
        with suppress(HaneulError, msgspec.MsgspecError):
            found[row.digest] = hub.shape(row)
    return found


def same_model(shape: Shape) -> str:
    """Alike for all formats of one model: its architecture and measures."""
    return f"{shape.architecture} {shape.layers}×{shape.hidden}, {shape.vocabulary} tokens"
