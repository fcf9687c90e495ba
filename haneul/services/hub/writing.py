"""The upload API of Hugging Face's hub: a commit becomes a revision once its files are proven."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec import structs

from haneul.base.errors import (
    BadRequest,
    Conflict,
    NotFound,
    UnsupportedValue,
)
from haneul.base.wire import decode
from haneul.models import catalogue
from haneul.models.folder.accept import IGNORED, check_name
from haneul.models.folder.blobs import Blobs
from haneul.services import keys
from haneul.services.acting import actor_of
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.hub import commits, names
from haneul.services.hub.access import Access
from haneul.services.hub.making import Making, check_parent
from haneul.services.hub.reading import ONE, answer, repository_of
from haneul.services.hub.shelf import MAINS, Shelf, commit_of
from haneul.services.hub.tickets import LIFE_S, Tickets
from haneul.services.hub.uploads import Uploads
from haneul.services.hub.ways import Query, Way, root_of
from haneul.services.hub.wire import (
    Card,
    CardChecked,
    Committed,
    LfsAction,
    LfsActions,
    LfsAnswer,
    LfsBatch,
    LfsTold,
    LfsWanted,
    MadeRepository,
    NewRepository,
    Preupload,
    UploadMode,
    UploadModes,
)
from haneul.services.keyring import require
from haneul.services.keys import LOCAL_ID, Key
from haneul.store import keys as key_queries
from haneul.store import shelf as shelf_queries
from haneul.store.database import Database

CREATE = "/hub/api/repos/create"
YAML = "/hub/api/validate-yaml"
BATCH = "/hub/{organization}/{repository}/info/lfs/objects/batch"
PUT = "/hub/lfs/{ticket}"
LFS_JSON = b"application/vnd.git-lfs+json"
SMALL_MAX_BYTES = 1 << 20  # of a file that comes in the commit itself
BODY_MAX_BYTES = 4 << 20
BODY_S = 30.0
_new: msgspec.json.Decoder[NewRepository] = msgspec.json.Decoder(NewRepository)
_preupload: msgspec.json.Decoder[Preupload] = msgspec.json.Decoder(Preupload)
_batch: msgspec.json.Decoder[LfsBatch] = msgspec.json.Decoder(LfsBatch)
_card: msgspec.json.Decoder[Card] = msgspec.json.Decoder(Card)


class Writing:
    """The handlers."""

    def __init__(
        self,
        gateway: Gateway,
        access: Access,
        *,
        database: Database,
        shelf: Shelf,
        blobs: Blobs,
        pepper: bytes,
    ) -> None:
        self._gateway = gateway
        self._access = access
        self._database = database
        self._blobs = blobs
        self._tickets = Tickets(pepper)
        self._uploads = Uploads(blobs, idle_s=gateway.config.idle_s)
        self._making = Making(shelf, blobs, self._uploads)

    def ways(self) -> list[Way]:
        return [
            Way(CREATE, {"POST": self.create}),
            Way(YAML, {"POST": self.card}),
            Way(ONE + "/preupload/{revision}", {"POST": self.preupload}),
            Way(ONE + "/commit/{revision}", {"POST": self.commit}),
            Way(BATCH, {"POST": self.batch}),
            Way(PUT, {"PUT": self.put}),
        ]

    async def create(self, call: Call, parts: Mapping[str, str]) -> None:
        """A repository to put to. It is there with its first revision."""
        key = await self._access.who(call, "push")
        data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
        wanted = decode(data, _new)
        name = f"{wanted.organization or names.OWN}/{wanted.name}"
        if not names.is_id(name):
            raise BadRequest(f"'{name}' cannot be the id of a repository.", param="name")
        url = _url(call, name)
        model = await self._model(key, name)
        if await self._database.ask(shelf_queries.states, model):
            raise Conflict(f"There is a model '{name}' already.", param="name", url=url)
        await answer(call, MadeRepository(url=url, name=name, id=name))

    async def card(self, call: Call, parts: Mapping[str, str]) -> None:
        """Nothing is wrong with a card: its text is kept as it is."""
        await self._access.who(call, None)
        data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
        decode(data, _card)
        await answer(call, CardChecked())

    async def preupload(self, call: Call, parts: Mapping[str, str]) -> None:
        """How each file is to be sent. Raises BadRequest for one that cannot be kept."""
        key = await self._access.who(call, "push")
        await self._model(key, repository_of(parts))
        data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
        wanted = decode(data, _preupload)
        modes = []
        for file in wanted.files:
            is_ignored = file.path.rpartition("/")[2] in IGNORED
            if not is_ignored:
                check_name(file.path)
            mode = "lfs" if file.size > SMALL_MAX_BYTES else "regular"
            modes.append(UploadMode(path=file.path, upload_mode=mode, should_ignore=is_ignored))
        await answer(call, UploadModes(files=modes))

    async def batch(self, call: Call, parts: Mapping[str, str]) -> None:
        """Where large files are put; those that are here need not be."""
        key = await self._access.who(call, "push")
        name = repository_of({**parts, "repository": parts["repository"].removesuffix(".git")})
        await self._model(key, name)
        data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
        wanted = decode(data, _batch)
        root = root_of(call)
        told = [await self._told(key, one, root) for one in wanted.objects]
        await answer(call, LfsAnswer(transfer="basic", objects=told), LFS_JSON)

    async def _told(self, key: Key, one: LfsWanted, root: str) -> LfsTold:
        size = await asyncio.to_thread(self._blobs.size, one.oid)
        # Who may see some models only is not told what others there are.
        if size == one.size and key.models is None:
            return LfsTold(oid=one.oid, size=one.size)
        href = f"{root}/lfs/{self._tickets.write(key.id, one.oid, one.size)}"
        actions = LfsActions(upload=LfsAction(href=href, expires_in=LIFE_S))
        return LfsTold(oid=one.oid, size=one.size, authenticated=True, actions=actions)

    async def put(self, call: Call, parts: Mapping[str, str]) -> None:
        """A large file, to the address that the batch gave for it."""
        ticket = self._tickets.read(parts["ticket"])
        if ticket.key_id != LOCAL_ID:
            row = await self._database.ask(key_queries.get, ticket.key_id)
            if row is None or not (key := keys.of_row(row)).is_live or "push" not in key.scopes:
                raise NotFound("The key that asked for this address may not use it any more.")
        with self._access.taken_in(ticket.key_id):
            await self._uploads.take(call, ticket)
        await answer(call, {})

    async def commit(self, call: Call, parts: Mapping[str, str]) -> None:
        """A revision of the files before it and those that come, once all are proven."""
        key = await self._access.who(call, "push")
        name, branch = repository_of(parts), parts["revision"]
        model = await self._model(key, name)
        if branch not in MAINS:
            require(key, "admin")  # an alias is what serves
        if Query(call).flag("create_pr"):
            raise UnsupportedValue("There are no pull requests here.", param="create_pr")
        with self._access.taken_in(key.id):
            most_bytes = self._gateway.config.body_max_bytes
            data = await self._gateway.arrivals.body(
                call, key, max_bytes=most_bytes, within_s=self._gateway.config.body_s
            )
            call.within(self._gateway.config.answer_s)
            before = await self._database.ask(self._making.before, key, name, branch)
            wanted = await asyncio.to_thread(
                commits.read, data, before.paths if before is not None else {}
            )
            check_parent(wanted, before)
            if key.models is not None:
                await self._database.ask(self._making.check_seen, key, wanted)
            accepted = await asyncio.to_thread(self._making.accept, wanted)
            head = before.state.id if before is not None else None
            if before is None and wanted.head.model and names.id_of(wanted.head.model) == name:
                model = wanted.head.model
                require(key, "push", model)
            if accepted.licence is None:
                accepted = structs.replace(accepted, licence=wanted.head.licence)
            row = await self._database.call(
                self._making.register, model, branch, head, accepted, actor_of(call, key)
            )
        commit = commit_of(row.id)
        url = f"{_url(call, name)}/commit/{commit}"
        await answer(call, Committed(success=True, commit_url=url, commit_oid=commit))

    async def _model(self, key: Key, name: str) -> str:
        """The model that a repository is or would be. Raises NotFound, NotAllowed."""
        if not names.is_id(name):
            raise NotFound(f"'{name[:200]}' cannot be a repository.", param="repository")
        known = await asyncio.to_thread(catalogue.load)
        here = await self._database.ask(shelf_queries.models)
        model = names.model_of(name, here, [entry.name for entry in known.entries])
        require(key, "push", model)
        return model


def _url(call: Call, name: str) -> str:
    """Where a repository is; to clients before 1.0, which know of no hub below a path, its id."""
    is_old = b"hf_hub/0." in call.headers.get(b"user-agent", b"")
    return name if is_old else f"{root_of(call)}/{name}"
