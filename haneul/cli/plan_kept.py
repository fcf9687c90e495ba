"""The shape of a model that is kept here, for a plan about it."""

from __future__ import annotations

from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.chips.shape import Shape
from haneul.cli.command import database
from haneul.models import revisions


def shape_of_kept(text: str, settings: Config) -> Shape | None:
    """What the revision of this name says of itself; None where none is here."""
    try:
        return revisions.facts(database(settings).run(revisions.resolve, text)).shape
    except HaneulError:
        return None
