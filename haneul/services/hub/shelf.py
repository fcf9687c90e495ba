"""What the hub offers: repositories, their revisions by name, the files of each.

A repository's `main` (ModelScope: `master`) is its newest revision that is not withdrawn; each
alias is a branch; the first 40 digits of a revision's id are its commit, as git's are, and any of
its first digits, from seven on, find it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Connection

from haneul.base.errors import NotFound
from haneul.models.manifest import File, Manifest, read
from haneul.services.hub import names
from haneul.services.keys import Key
from haneul.store import revisions as queries
from haneul.store import shelf
from haneul.store.shelf import StateRow

COMMIT_DIGITS = 40
MARK = re.compile(r"[0-9a-f]{7,64}")
MAINS = ("main", "master", "HEAD", "refs/heads/main")
FILES_HELD_MAX = 50_000  # of the revisions that are kept read


class Repository(NamedTuple):
    """A model as a repository, and those of its revisions that stand, the newest first."""

    id: str
    model: str
    states: list[StateRow]
    aliases: dict[str, str]

    @property
    def newest(self) -> StateRow:
        return self.states[0]


class Found(NamedTuple):
    """One revision of a repository and its files."""

    repository: Repository
    state: StateRow
    manifest: Manifest
    paths: dict[str, File]

    @property
    def commit(self) -> str:
        return commit_of(self.state.id)


class Shelf:
    """Reads the store; every method is called in a thread, with a connection."""

    def __init__(self) -> None:
        self._read: OrderedDict[str, tuple[Manifest, dict[str, File]]] = OrderedDict()
        self._files_held = 0
        self._lock = Lock()  # several threads read

    def find(self, connection: Connection, key: Key, repository: str) -> Repository:
        """The repository, if the key may see it. Raises NotFound."""
        model = names.find(shelf.models(connection), repository)
        if model is None or not may_see(key, model):
            raise NotFound(f"There is no repository '{repository[:200]}' here.", param="repository")
        standing = _standing(shelf.states(connection, model))
        if not standing:
            raise NotFound(f"Every revision of '{repository}' was withdrawn.", param="repository")
        return Repository(repository, model, standing, queries.aliases(connection, model))

    def at(self, connection: Connection, key: Key, repository: str, revision: str) -> Found:
        """One revision of it: a branch, a commit, or some of its first digits. Raises NotFound."""
        found = self.find(connection, key, repository)
        return self.open(connection, found, choose(found, revision))

    def open(self, connection: Connection, repository: Repository, state: StateRow) -> Found:
        """A revision with its files. Raises NotFound."""
        return Found(repository, state, *self._manifest(connection, state))

    def every(self, connection: Connection, key: Key) -> list[Repository]:
        """Every repository that the key may see, by its id."""
        by_model: dict[str, list[StateRow]] = {}
        for state in shelf.states(connection):
            by_model.setdefault(state.model, []).append(state)
        found = []
        for repository, model in sorted(names.ids(by_model).items()):
            standing = _standing(by_model[model])
            if standing and may_see(key, model):
                found.append(Repository(repository, model, standing, {}))
        return found

    def _manifest(
        self, connection: Connection, state: StateRow
    ) -> tuple[Manifest, dict[str, File]]:
        """A revision never changes: what was read once is true."""
        with self._lock:
            if (kept := self._read.get(state.id)) is not None:
                self._read.move_to_end(state.id)
                return kept
        row = queries.get(connection, state.model, state.id)
        if row is None:
            raise NotFound("That revision has just gone.", param="revision")
        manifest = read(row.manifest)
        kept = manifest, {file.path: file for file in manifest.files}
        with self._lock:
            if state.id not in self._read:
                self._read[state.id] = kept
                self._files_held += len(manifest.files)
            while self._files_held > FILES_HELD_MAX and len(self._read) > 1:
                self._files_held -= len(self._read.popitem(last=False)[1][1])
        return kept


def choose(repository: Repository, revision: str) -> StateRow:
    """The state that a revision's name means. Raises NotFound."""
    wanted = repository.aliases.get(revision.removeprefix("refs/heads/"))
    if wanted is None and revision in MAINS:
        return repository.newest
    mark = wanted or revision.lower()
    found = [state for state in repository.states if state.id.startswith(mark)]
    if not MARK.fullmatch(mark) or len(found) != 1:
        said = revision[:100]
        raise NotFound(f"'{repository.id}' has no revision '{said}' here.", param="revision")
    return found[0]


def commit_of(revision: str) -> str:
    """A revision's id as a commit: as long as git's, so that clients take it for one."""
    return revision[:COMMIT_DIGITS]


def may_see(key: Key, model: str) -> bool:
    """Whether the key is for that model too."""
    return key.models is None or model in key.models


def _standing(states: list[StateRow]) -> list[StateRow]:
    return [state for state in states if state.withdrawn_us is None]
