"""Entries that came with bundles: for machines whose haneul is older than the models they run.

They lie in one file of the home, in the form of the catalogue's own documents. What haneul itself
knows goes before: nobody can lead a known name elsewhere by sending an entry for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from haneul.base.errors import BrokenFile, HaneulError
from haneul.models.catalogue import Catalogue, load
from haneul.models.families.entry import Entry
from haneul.models.families.reading import read_entries

FILE_MAX_BYTES = 16 << 20
ENTRIES_MAX = 10_000

Document = dict[str, Any]  # as a file of the catalogue, with one model


def of_home(file: Path) -> Catalogue:
    """The catalogue of this haneul, and the entries of the file that it does not have.

    Raises BrokenFile for a file that is not what `add` wrote.
    """
    own = load()
    new = _new(own, (entry for document in _read(file) for entry in _entries(document)))
    return Catalogue([*own.entries, *new], own.services) if new else own


def add(file: Path, documents: Sequence[Document]) -> list[str]:
    """Keeps what the catalogue does not have yet; the names that are new. Newer entries replace.

    An entry that this version cannot read is left out. Raises BrokenFile.
    """
    before = _read(file)
    kept = {_name(each): each for each in _single(before)}
    own, new = load(), []
    for document in _single(documents):
        name = _name(document)
        is_old = name in kept and document["dated"] <= kept[name]["dated"]
        if is_old or not _new(own, _entries(document)) or len(kept) >= ENTRIES_MAX:
            continue
        if name not in kept:
            new.append(name)
        kept[name] = document
    if [*kept.values()] != before:
        _write(file, [*kept.values()])
    return new


def _single(documents: Iterable[Document]) -> Iterable[Document]:
    """A document for each model."""
    for document in documents:
        models = document.get("model")
        for model in models if isinstance(models, list) else []:
            if isinstance(model, dict) and isinstance(model.get("name"), str):
                yield {"dated": str(document.get("dated", "")), "model": [model]}


def _name(document: Document) -> str:
    return str(document["model"][0]["name"])


def _entries(document: Document) -> list[Entry]:
    """The entries of a document; none where this version cannot read them."""
    try:
        return read_entries(document)
    except (msgspec.MsgspecError, HaneulError, ValueError, KeyError, ArithmeticError):
        return []


def _new(own: Catalogue, entries: Iterable[Entry]) -> list[Entry]:
    """Those of which no name is taken, by haneul's own or by one before."""
    taken: set[str] = set()
    found = []
    for entry in entries:
        names = {entry.name, *entry.aliases}
        if not names & taken and not any(own.get(name) for name in names):
            taken |= names
            found.append(entry)
    return found


def _read(file: Path) -> list[Document]:
    try:
        if file.stat().st_size > FILE_MAX_BYTES:
            raise BrokenFile(f"{file.name} of this home is larger than it can be.")
        return msgspec.json.decode(file.read_bytes(), type=list[Document])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise BrokenFile(f"{file.name} of this home cannot be read; remove it.") from cause


def _write(file: Path, documents: list[Document]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(msgspec.json.encode(documents))
    fresh.replace(file)
