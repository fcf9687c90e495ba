"""The text that models are compared on: our own, in several languages, dated in its name."""

from __future__ import annotations

from importlib.resources import files

import msgspec
from msgspec import Struct

FILE = "texts.toml"


class Passage(Struct, frozen=True):
    """Some paragraphs of one language."""

    language: str
    text: str


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    licence: str
    spelling: str
    passage: list[Passage]
    calibration: list[Passage]


def passages() -> tuple[str, list[Passage]]:
    """The name of the suite and its passages; reads a file of this package."""
    said = _read()
    return said.name, said.passage


def calibration() -> list[Passage]:
    """Other text of the same kinds: what an importance matrix is measured on."""
    return _read().calibration


def spelling() -> str:
    """A text that is hard to cut into words the same way twice."""
    return _read().spelling


def _read() -> _File:
    text = files("haneul.engine.derive").joinpath(FILE).read_bytes()
    return msgspec.toml.decode(text, type=_File)
