"""What is known of a model before it is pulled."""

from __future__ import annotations

from msgspec import Struct

from haneul.chips.estimate import Estimate
from haneul.chips.shape import Shape
from haneul.models.licences import Licence
from haneul.models.manifest import Format
from haneul.models.sources.offer import LeftOut, Listed


class Variant(Struct, frozen=True):
    """Another choice of the same repository: what to type, and its bytes in all."""

    reference: str
    quantisation: str
    bytes: int


class Preview(Struct, frozen=True, kw_only=True):
    """What is known of a model before it is pulled; None and "" are unknown."""

    name: str
    source: str  # "": nobody was asked, or nobody answered
    revision: str
    format: Format
    files: tuple[Listed, ...]
    size: Estimate | None
    licence: Licence
    shape: Shape | None
    template: str
    left_out: tuple[LeftOut, ...]
    variants: tuple[Variant, ...]
    read_bytes: int  # of weights' files
    reason: str  # why the shape is unknown
