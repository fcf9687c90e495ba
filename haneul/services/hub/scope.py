"""The same in ModelScope's words: what its SDK asks for when it downloads a model."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from haneul.base.units import MILLION
from haneul.services.call import Call
from haneul.services.hub import described
from haneul.services.hub.access import Access
from haneul.services.hub.files import FilesOut
from haneul.services.hub.reading import answer, repository_of
from haneul.services.hub.shelf import Found, Shelf, commit_of
from haneul.services.hub.ways import Query, Way
from haneul.services.hub.wire import (
    ScopeFiles,
    ScopeInfo,
    ScopeListing,
    ScopeMap,
    ScopeRef,
    ScopeRefs,
    ScopeRevisions,
)
from haneul.services.keys import Key
from haneul.store import shelf as counts
from haneul.store.database import Database

ONE = "/hub/api/v1/models/{organization}/{repository}"
MAIN = "master"


class Scope:
    """The handlers."""

    def __init__(
        self, access: Access, *, database: Database, shelf: Shelf, files: FilesOut
    ) -> None:
        self._access = access
        self._database = database
        self._shelf = shelf
        self._files = files

    def ways(self) -> list[Way]:
        return [
            Way(ONE + "/revisions", {"GET": self.revisions}),
            Way(ONE + "/repo/files", {"GET": self.listed}),
            Way(ONE + "/repo", {"GET": self.file}),
            Way(ONE, {"GET": self.info}),
        ]

    async def info(self, call: Call, parts: Mapping[str, str]) -> None:
        """What a repository is."""
        key = await self._access.who(call, "pull")
        found = await self._at(key, parts, MAIN)
        downloads = (await self._database.ask(counts.pulls)).get(found.repository.model, 0)
        await answer(call, ScopeInfo(data=described.scope_model(found, downloads)))

    async def revisions(self, call: Call, parts: Mapping[str, str]) -> None:
        """The names of its revisions; commits stand among the tags, as a tag does not move."""
        key = await self._access.who(call, "pull")
        found = (await self._at(key, parts, MAIN)).repository
        at_s = {state.id: state.created_us // MILLION for state in found.states}
        branches = [
            ScopeRef(revision=name, created_at=at_s[revision])
            for name, revision in {MAIN: found.newest.id, **found.aliases}.items()
            if revision in at_s
        ]
        tags = [
            ScopeRef(revision=commit_of(revision), created_at=created_s)
            for revision, created_s in at_s.items()
        ]
        told = ScopeRefs(revision_map=ScopeMap(branches=branches, tags=tags))
        await answer(call, ScopeRevisions(data=told))

    async def listed(self, call: Call, parts: Mapping[str, str]) -> None:
        """The files of a revision, whole: its clients know no pages."""
        key = await self._access.who(call, "pull")
        query = Query(call)
        found = await self._at(key, parts, query.text("Revision", MAIN))
        files = described.scope_files(
            found, query.text("Root"), is_recursive=query.flag("Recursive")
        )
        await answer(call, ScopeListing(data=ScopeFiles(files=files)))

    async def file(self, call: Call, parts: Mapping[str, str]) -> None:
        """A file, or a part of it."""
        key = await self._access.who(call, "pull")
        query = Query(call)
        revision = query.text("Revision", MAIN)
        found = await self._at(key, parts, revision)
        await self._files.answer(call, key, found, query.text("FilePath"), revision)

    async def _at(self, key: Key, parts: Mapping[str, str], revision: str) -> Found:
        def find(connection: Connection) -> Found:
            return self._shelf.at(connection, key, repository_of(parts), revision or MAIN)

        return await self._database.ask(find)
