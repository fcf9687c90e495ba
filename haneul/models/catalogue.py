"""Models by name: what a plan must know of each, what may be done with it, and where its file is.

The facts are in families/data, a file for each family; each entry says where its figures come
from and when they were last looked at.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from haneul.base.errors import ModelNotFound
from haneul.models.families.entry import Entry, Service, size_of
from haneul.models.families.reading import read_entries, read_services
from haneul.models.families.variants import split, variant
from haneul.models.reference import Reference, parse

__all__ = ["Catalogue", "Entry", "Service", "find", "load", "read", "size_of"]


class Catalogue:
    """Entries by name and alias, upper and lower case alike."""

    def __init__(self, entries: Sequence[Entry], services: Sequence[Service] = ()) -> None:
        self.entries = tuple(entries)
        self.services = tuple(services)
        self._by_name: dict[str, Entry] = {}
        for entry in entries:
            for name in (entry.name, *entry.aliases):
                if self._by_name.setdefault(name, entry) is not entry:
                    raise ValueError(f"the catalogue has two models called {name}")
        self._services = {service.name: service for service in services}

    def get(self, name: str) -> Entry | None:
        """The entry of that name or alias, in the quantisation it names; None: there is none."""
        entry = self._by_name.get(_plain(name))
        if entry is not None:
            return entry
        base, quantisation = split(_plain(name))
        other = self._by_name.get(base)
        return None if other is None else variant(other, quantisation)

    def find(self, name: str) -> Entry:
        """The entry of that name or alias. Raises ModelNotFound with names that look alike."""
        entry = self.get(name)
        if entry is not None:
            return entry
        base = self._by_name.get(split(_plain(name))[0])
        if base is not None:
            there = ", ".join(dict.fromkeys((base.shape.quantisation, *base.quantisations)))
            raise ModelNotFound(f"No file of {base.name} in that quantisation is known: {there}.")
        service = self._services.get(_plain(name))
        if service is not None:
            raise ModelNotFound(f"{service.name} cannot be had, only asked: {service.ask}")
        alike = difflib.get_close_matches(_plain(name), self._by_name, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise ModelNotFound(f"The catalogue has no model called '{name[:100]}'.{hint}")

    def resolve(self, text: str) -> Entry | Reference:
        """What the text means: an entry, or a reference to elsewhere.

        Raises BadRequest for nonsense, ModelNotFound for a name that is not in the catalogue.
        """
        reference = parse(text)
        return self.find(reference.name) if reference.kind == "catalogue" else reference


def find(name: str) -> Entry | None:
    """The entry of that name or alias in haneul's own catalogue; None when there is none."""
    return load().get(name)


@lru_cache(maxsize=1)
def load() -> Catalogue:
    """The catalogue that comes with haneul; reads files of this package, once."""
    folder = resources.files("haneul.models.families").joinpath("data")
    named = sorted((each.name, each) for each in folder.iterdir() if each.name.endswith(".toml"))
    return read(*(tomllib.loads(file.read_text("utf-8")) for _, file in named))


def read(*documents: dict[str, Any]) -> Catalogue:
    """A catalogue of such documents. Raises msgspec.ValidationError, ValueError, BadRequest."""
    return Catalogue(
        [entry for document in documents for entry in read_entries(document)],
        [service for document in documents for service in read_services(document)],
    )


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(":latest")
