"""What the store says of models, engines, prices and routes now."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.units import now_us
from haneul.models import serving
from haneul.services.prices import PriceList, read_prices
from haneul.services.routes import Member, Route, route_of
from haneul.store import engines as engine_queries
from haneul.store import models as model_queries
from haneul.store import routes as route_queries
from haneul.store.engines import EngineRow
from haneul.store.models import ModelRow

FOLLOW_S = 2.0  # how often it is read anew


class Known(Struct, frozen=True):
    """All of it, as one moment has it."""

    models: list[ModelRow]
    engines: list[EngineRow]
    prices: PriceList
    routes: list[Route]


def read(connection: Connection) -> Known:
    """Everything."""
    models = model_queries.every(connection)
    engines = engine_queries.every(connection)
    routes = [route_of(row) for row in route_queries.every(connection)]
    pointed = serving.routes(connection).items()
    routes += [Route(alias, [Member(model)], []) for alias, model in pointed]
    return Known(models, engines, read_prices(connection, at_us=now_us()), routes)
