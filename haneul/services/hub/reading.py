"""The read API of Hugging Face's hub: whom does the key belong to, what is there, which files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

import msgspec
from sqlalchemy import Connection

from haneul.base.errors import UnknownField
from haneul.base.wire import decode
from haneul.services.call import JSON, Call
from haneul.services.hub import described
from haneul.services.hub.access import Access
from haneul.services.hub.files import FilesOut
from haneul.services.hub.names import OWN
from haneul.services.hub.shelf import Found, Shelf
from haneul.services.hub.ways import Query, Way, root_of
from haneul.services.hub.wire import (
    AccessToken,
    OrganisationShown,
    PathsWanted,
    RepositoryInfo,
    TokenFacts,
    WhoAmI,
)
from haneul.services.keys import Key
from haneul.store import revisions as queries
from haneul.store import shelf as counts
from haneul.store.database import Database

MODELS = "/hub/api/models"
ONE = MODELS + "/{organization}/{repository}"
RESOLVE = "/hub/{organization}/{repository}/resolve/{revision}/{path}"
BODY_MAX_BYTES = 4 << 20
BODY_S = 30.0
OFFSET_MAX = 10**9
FILTERS = {"search", "author", "filter", "limit", "cursor", "sort", "direction", "full", "expand"}
FILTERS |= {"cardData", "config"}
T = TypeVar("T")
_paths_wanted: msgspec.json.Decoder[PathsWanted] = msgspec.json.Decoder(PathsWanted)


class Reading:
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
            Way("/hub/api/whoami-v2", {"GET": self.who}),
            Way(MODELS, {"GET": self.listed}),
            Way(ONE + "/refs", {"GET": self.refs}),
            Way(ONE + "/revision/{revision}", {"GET": self.info}),
            Way(ONE + "/tree/{revision}", {"GET": self.tree}),
            Way(ONE + "/commits/{revision}", {"GET": self.commits}),
            Way(ONE + "/paths-info/{revision}", {"POST": self.paths}),
            Way(ONE, {"GET": self.info}),
            Way(RESOLVE, {"GET": self.resolve}),
        ]

    async def who(self, call: Call, parts: Mapping[str, str]) -> None:
        """The key that asks, as a user."""
        key = await self._access.who(call, None)
        name = re.sub(r"[^\w.-]+", "-", key.name, flags=re.ASCII).strip("-.") or "key"
        role = "write" if "push" in key.scopes else "read"
        told = WhoAmI(
            type="user",
            id=key.id,
            name=name,
            fullname=key.name,
            is_pro=False,
            orgs=[OrganisationShown(type="org", id=OWN, name=OWN, fullname=OWN, role_in_org=role)],
            auth=TokenFacts(
                type="access_token", access_token=AccessToken(display_name=key.name, role=role)
            ),
        )
        await answer(call, told)

    async def listed(self, call: Call, parts: Mapping[str, str]) -> None:
        """The repositories that the key may see."""
        key = await self._access.who(call, "pull")
        query = Query(call)
        for name in sorted(query.names - FILTERS):
            raise UnknownField(f"'{name[:64]}' is not honoured here.", param=name[:64])
        found, pulls = await self._database.ask(self._list, key, query)
        usual = described.FULL if query.flag("full") else described.LISTED
        wanted = query.texts("expand") or usual

        def show(one: Found) -> RepositoryInfo:
            return described.info(one, downloads=pulls.get(one.repository.model, 0), wanted=wanted)

        await self._page(call, query, found, show)

    def _list(
        self, connection: Connection, key: Key, query: Query
    ) -> tuple[list[Found], dict[str, int]]:
        """What fits, in the order of their ids or as it is asked for; and how often each went."""
        pulls = counts.pulls(connection)
        search, author = query.text("search").lower(), query.text("author")
        tags = {tag for text in query.texts("filter") for tag in text.split(",")}
        chosen = []
        for one in self._shelf.every(connection, key):
            is_theirs = not author or one.id.startswith(f"{author}/")
            if search not in one.id.lower() or not is_theirs:
                continue
            found = self._shelf.open(connection, one, one.newest)
            if tags <= set(described.tags(found)):
                chosen.append(found)
        _sort(chosen, query.text("sort"), pulls)
        return chosen, pulls

    async def info(self, call: Call, parts: Mapping[str, str]) -> None:
        """The facts of a repository at a revision."""
        key = await self._access.who(call, "pull")
        query = Query(call)
        await answer(call, await self._database.ask(self._facts, key, parts, query))

    def _facts(
        self, connection: Connection, key: Key, parts: Mapping[str, str], query: Query
    ) -> RepositoryInfo:
        found = self._found(connection, key, parts)
        return described.info(
            found,
            downloads=counts.pulls(connection).get(found.repository.model, 0),
            parents=tuple(row.parent for row in queries.parents(connection, found.state.id)),
            blobs=query.flag("blobs"),
            wanted=query.texts("expand") or described.FULL,
        )

    async def tree(self, call: Call, parts: Mapping[str, str]) -> None:
        """The files and folders of a revision, in pages."""
        key = await self._access.who(call, "pull")
        query = Query(call)
        revision, _, folder = parts["revision"].partition("/")
        found = await self._at(key, {**parts, "revision": revision})
        call.extra_headers.append((b"x-repo-commit", found.commit.encode()))
        entries = described.tree(
            found, folder, is_recursive=query.flag("recursive"), is_expanded=query.flag("expand")
        )
        await self._page(call, query, entries)

    async def paths(self, call: Call, parts: Mapping[str, str]) -> None:
        """What is at some paths of a revision; those that are not there are left out."""
        key = await self._access.who(call, "pull")
        data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
        wanted = _paths(call, data)
        found = await self._at(key, parts)
        await answer(call, described.paths(found, wanted.paths, is_expanded=wanted.expand))

    async def refs(self, call: Call, parts: Mapping[str, str]) -> None:
        """The names of a repository's revisions."""
        key = await self._access.who(call, "pull")
        name = repository_of(parts)
        found = await self._database.ask(self._shelf.find, key, name)
        await answer(call, described.refs(found))

    async def commits(self, call: Call, parts: Mapping[str, str]) -> None:
        """A revision and those before it."""
        key = await self._access.who(call, "pull")
        found = await self._at(key, parts)
        await self._page(call, Query(call), described.commits(found.repository, found.state))

    async def resolve(self, call: Call, parts: Mapping[str, str]) -> None:
        """A file, or a part of it."""
        key = await self._access.who(call, "pull")
        found = await self._at(key, parts)
        await self._files.answer(call, key, found, parts["path"], parts["revision"])

    async def _at(self, key: Key, parts: Mapping[str, str]) -> Found:
        return await self._database.ask(self._found, key, parts)

    def _found(self, connection: Connection, key: Key, parts: Mapping[str, str]) -> Found:
        revision = parts.get("revision", "main")
        return self._shelf.at(connection, key, repository_of(parts), revision)

    async def _page(
        self, call: Call, query: Query, entries: Sequence[T], show: Callable[[T], Any] | None = None
    ) -> None:
        """A part of a list, and where the next one is."""
        at, limit = query.number("cursor", 0, OFFSET_MAX), query.limit()
        if at + limit < len(entries):
            said = {**parse_qs(call.query), "cursor": [str(at + limit)], "limit": [str(limit)]}
            path = call.path.removeprefix("/hub")
            link = f'<{root_of(call)}{path}?{urlencode(said, doseq=True)}>; rel="next"'
            call.extra_headers.append((b"link", link.encode("ascii", "replace")))
        part = entries[at : at + limit]
        await answer(call, [show(one) for one in part] if show else list(part))


def _sort(chosen: list[Found], by: str, pulls: Mapping[str, int]) -> None:
    """What was taken most or changed last comes first; otherwise the order stays."""
    if by == "downloads":
        chosen.sort(key=lambda found: pulls.get(found.repository.model, 0), reverse=True)
    elif by in ("lastModified", "last_modified"):
        chosen.sort(key=lambda found: found.repository.newest.created_us, reverse=True)
    elif by in ("createdAt", "created_at"):
        chosen.sort(key=lambda found: found.repository.states[-1].created_us, reverse=True)


def repository_of(parts: Mapping[str, str]) -> str:
    """The id of the repository that an address names."""
    return f"{parts['organization']}/{parts['repository']}"


async def answer(call: Call, value: Any, content_type: bytes = JSON) -> None:
    """A good answer."""
    await call.answer(200, msgspec.json.encode(value), content_type)


def _paths(call: Call, data: bytes) -> PathsWanted:
    """The paths, as JSON or as a form: huggingface_hub sends the latter."""
    kind = call.headers.get(b"content-type", b"")
    if kind.startswith(b"application/x-www-form-urlencoded"):
        said = parse_qs(data.decode("utf-8", "replace"))
        form = {
            "paths": said.get("paths", []),
            "expand": said.get("expand", ["false"])[-1].lower() == "true",
        }
        data = msgspec.json.encode(form)
    return decode(data, _paths_wanted)
