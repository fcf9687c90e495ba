"""The bodies of haneul's own addresses that are too small for a file of their own."""

from __future__ import annotations

from msgspec import Struct


class ModelName(Struct, frozen=True, forbid_unknown_fields=True):
    """A body that names a model."""

    model: str


class LogIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A body that holds a key."""

    key: str
