"""A file on a server, as whoever offers it knows it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Piece(Struct, frozen=True, kw_only=True):
    """What is known of it beforehand is held against what comes."""

    url: str
    bytes: int | None = None
    sha256: str = ""
    credentials: Mapping[str, str] = {}
