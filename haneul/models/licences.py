"""What a model's licence allows, and what passes on to whatever is made of the model.

The facts are in licences.toml, each with the text it was read from. They help to choose and are no
legal advice: what a text leaves open, or nobody here has read, is None.
"""

from __future__ import annotations

import re
from functools import lru_cache, reduce
from importlib.resources import files

import msgspec
from msgspec import Struct

from haneul.base.errors import NotAllowed

UNKNOWN_SOURCE = "no licence of this name is known here"
UNSAID_SOURCE = "the model's source says no licence"
JOINED = " AND "  # as SPDX writes that both hold
SHOWN_MAX = 100  # signs of a licence nobody knows

# Words that hubs put before or after a name without changing which licence is meant.
NOISE = re.compile(r"^(the|licenseref)\b|\b(license|licence|agreement|version|v)\b")


class Licence(Struct, frozen=True, kw_only=True):
    """What may be done with a model; None: unknown. The conditions are sentences."""

    id: str  # SPDX's where it has one; "unknown" where nothing is said
    name: str
    allows_commercial: bool | None = None
    allows_derivatives: bool | None = None
    allows_sharing: bool | None = None
    conditions: tuple[str, ...] = ()
    is_free: bool = False  # asks for credit and notices only
    source: str


class _Stated(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: str
    name: str
    names: list[str]
    commercial: bool | None = None
    derivatives: bool | None = None
    sharing: bool | None = None
    is_free: bool = False
    conditions: list[str]
    source: str


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    dated: str
    licence: list[_Stated]


def known() -> tuple[Licence, ...]:
    """Every licence that is described here; reads a file of this package."""
    return tuple({each.id: each for each in _by_name().values()}.values())


def licence(text: str | None) -> Licence:
    """The licence that a hub, a header or a person calls so; one of unknowns where none is known.

    Spelling varies between hubs: 'apache-2.0', 'Apache License 2.0' and 'apache2' are one. Several
    joined by AND hold together, as `inherited` writes them.
    """
    said = (text or "").strip()
    if JOINED in said:
        return reduce(_both, (licence(each) for each in said.split(JOINED)))
    plain = _plain(said)
    if not plain or plain in ("unknown", "other", "none"):
        return Licence(id="unknown", name="unknown", source=UNSAID_SOURCE)
    found = _by_name().get(plain)
    if found is not None:
        return found
    return Licence(id=said[:SHOWN_MAX], name=said[:SHOWN_MAX], source=UNKNOWN_SOURCE)


def inherited(parent: Licence, *others: Licence) -> Licence:
    """The licence of what is made of these models; all of theirs hold together.

    A parent that asks for credit only leaves another's licence as it is. Raises NotAllowed where a
    parent forbids derivatives; one whose text is unknown forbids nothing, and stays unknown.
    """
    for each in (parent, *others):
        if each.allows_derivatives is False:
            raise NotAllowed(
                f"The licence '{each.name}' allows nothing to be made of the model: {each.source}."
            )
    return reduce(_both, others, parent)


def _both(one: Licence, other: Licence) -> Licence:
    if one.id == other.id or (one.is_free and not other.is_free):
        return other
    if other.is_free:
        return one
    return Licence(
        id=f"{one.id}{JOINED}{other.id}",
        name=f"{one.name} and {other.name}",
        allows_commercial=_stricter(one.allows_commercial, other.allows_commercial),
        allows_derivatives=_stricter(one.allows_derivatives, other.allows_derivatives),
        allows_sharing=_stricter(one.allows_sharing, other.allows_sharing),
        conditions=tuple(dict.fromkeys((*one.conditions, *other.conditions))),
        source=f"{one.source}; {other.source}",
    )


def _stricter(one: bool | None, other: bool | None) -> bool | None:
    """No where either says no, yes where both say yes, else unknown."""
    if one is False or other is False:
        return False
    return True if one and other else None


def _plain(text: str) -> str:
    """The words that tell licences apart, joined: case, marks and fillers do not."""
    words = re.sub(r"[^a-z0-9.+]+", " ", text.lower()).strip()
    return re.sub(r"\s+", "", NOISE.sub(" ", words))


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Licence]:
    """The licences of this package's file by each of their names, plainly spelt."""
    text = files("haneul.models").joinpath("licences.toml").read_bytes()
    stated = msgspec.toml.decode(text, type=_File).licence
    return {
        _plain(name): _licence(each)
        for each in stated
        for name in (each.id, each.name, *each.names)
    }


def _licence(stated: _Stated) -> Licence:
    return Licence(
        id=stated.id,
        name=stated.name,
        allows_commercial=stated.commercial,
        allows_derivatives=stated.derivatives,
        allows_sharing=stated.sharing,
        conditions=tuple(stated.conditions),
        is_free=stated.is_free,
        source=stated.source,
    )
