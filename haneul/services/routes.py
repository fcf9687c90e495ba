"""Public names that lead to several models: a weighted list, and what is asked when it fails.

What a route names as `scarce` is asked only when all of these are busy, and the answer says so.

A route's members are models or aliases of their revisions, never other routes, so that none leads
back to itself. An alias is a route with one member that was put by nobody. Members without
weights are equals, and the choice is made among all their targets at once; where one has a weight,
the weights share the requests out, and the others come after the one that was drawn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION, now_us
from haneul.store.routes import RouteRow

NAME_MAX = 100
MEMBERS_MAX = 32
WEIGHT_MAX = 1_000_000


class Member(NamedTuple):
    """One model of a route."""

    model: str
    weight: int | None = None


class Route(Struct, frozen=True):
    """A public name and where it leads."""

    name: str
    members: list[Member]
    fallbacks: list[str]
    created_us: int = 0
    scarce: tuple[str, ...] = ()  # models asked when all the others are busy, in their order

    @property
    def is_alias(self) -> bool:
        return self.created_us == 0

    @property
    def is_weighted(self) -> bool:
        return any(member.weight is not None for member in self.members)

    @property
    def weights(self) -> list[int]:
        """Of the members; one where nothing is said."""
        return [1 if member.weight is None else member.weight for member in self.members]


def parse(
    name: str,
    members: tuple[str, ...],
    fallbacks: tuple[str, ...],
    scarce: tuple[str, ...] = (),
) -> Route:
    """A route as people type it: MODEL or MODEL=WEIGHT each. Raises BadRequest."""
    for each in (name, *scarce):
        check_name(each)
    route = Route(name, [_member(text) for text in members], list(fallbacks), scarce=scarce)
    named = [*(member.model for member in route.members), *route.fallbacks, *scarce]
    if not route.members:
        raise BadRequest("A route leads to at least one model.", param="members")
    if len(named) > MEMBERS_MAX:
        raise BadRequest(f"A route leads to at most {MEMBERS_MAX} models.", param="members")
    if twice := {model for model in named if named.count(model) > 1}:
        raise BadRequest(f"'{sorted(twice)[0]}' is named twice.", param="members")
    if route.is_weighted and not any(route.weights):
        raise BadRequest("One member at least has a weight above 0.", param="members")
    return route


def check_name(name: str) -> None:
    """Raises BadRequest for what cannot be a model's name."""
    if not name or len(name) > NAME_MAX or not name.isascii() or not name.isprintable():
        raise BadRequest(f"A name has 1 to {NAME_MAX} printable ASCII characters.", param="name")
    if " " in name or "=" in name:
        raise BadRequest("A name has no blanks and no '='.", param="name")


def _member(text: str) -> Member:
    model, equals, weight = text.rpartition("=")
    if not equals:
        check_name(text)
        return Member(text)
    check_name(model)
    if not weight.isascii() or not weight.isdigit() or int(weight[:9]) > WEIGHT_MAX:
        raise BadRequest(f"'{weight}' is no weight: 0 to {WEIGHT_MAX}.", param="members")
    return Member(model, int(weight))


def row_of(route: Route) -> RouteRow:
    """As the store keeps it, from now."""
    return RouteRow(
        name=route.name,
        members=msgspec.json.encode(route.members).decode(),
        fallbacks=msgspec.json.encode(route.fallbacks).decode(),
        created_us=now_us(),
        scarce=msgspec.json.encode(route.scarce).decode(),
    )


def route_of(row: RouteRow) -> Route:
    """As it was put into the store."""
    members = msgspec.json.decode(row.members, type=list[Member])
    fallbacks = msgspec.json.decode(row.fallbacks, type=list[str])
    scarce = msgspec.json.decode(row.scarce, type=tuple[str, ...])
    return Route(row.name, members, fallbacks, row.created_us, scarce)


def show(route: Route) -> dict[str, Any]:
    """As /v1/models lists it: OpenAI's four fields, and where it leads."""
    return {
        "id": route.name,
        "object": "model",
        "created": route.created_us // MILLION,
        "owned_by": "route",
        "members": [{"model": each.model, "weight": each.weight} for each in route.members],
        "fallbacks": route.fallbacks,
        "scarce": route.scarce,
    }
