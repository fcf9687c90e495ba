"""How what somebody put becomes a revision: the one before it, what is new, the proof, the row."""

from __future__ import annotations

from sqlalchemy import Connection

from haneul.base.errors import BadRequest, BrokenFile, Conflict, NotFound
from haneul.models import revisions, serving
from haneul.models.folder.accept import IGNORED, Accepted
from haneul.models.folder.accept import accept as proven
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File, read
from haneul.services.hub.commits import Wanted
from haneul.services.hub.shelf import MAINS, Found, Shelf, commit_of, may_see
from haneul.services.hub.uploads import Uploads
from haneul.services.keys import Key
from haneul.store import revisions as queries
from haneul.store.audit import Actor
from haneul.store.revisions import RevisionRow


class Making:
    """The steps of a commit; each is called in a thread."""

    def __init__(self, shelf: Shelf, blobs: Blobs, uploads: Uploads) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._uploads = uploads

    def before(self, connection: Connection, key: Key, name: str, branch: str) -> Found | None:
        """The revision that a commit follows; None for the first of a repository."""
        try:
            repository = self._shelf.find(connection, key, name)
        except NotFound:
            if branch in MAINS:
                return None
            raise
        if branch not in MAINS and branch not in repository.aliases:
            raise NotFound(f"'{name}' has no branch '{branch[:100]}'.", param="revision")
        return self._shelf.at(connection, key, name, branch)

    def check_seen(self, connection: Connection, key: Key, wanted: Wanted) -> None:
        """A key for some models takes no file of another one's by its digest."""
        claimed = {large.oid for large in wanted.larges.values()}
        hidden: set[str] = set()
        for row in queries.every(connection):
            held = {file.sha256 for file in read(row.manifest).files} & claimed
            if may_see(key, row.model):
                claimed -= held
            else:
                hidden |= held
        if hidden & claimed:
            raise BadRequest("A file of the commit was not put by this key.", param="oid")

    def accept(self, wanted: Wanted) -> Accepted:
        """The files, proven. Touches the disk."""
        files = dict(wanted.kept)
        for path, large in wanted.larges.items():
            size = self._blobs.size(large.oid)
            if size is None or large.size not in (None, size):
                raise BadRequest(f"{path} was not put before the commit.", param="oid")
            files[path] = File(path=path, sha256=large.oid, bytes=size)
        for path, content in wanted.contents.items():
            kept = self._uploads.keep(content)
            files[path] = File(path=path, sha256=kept.sha256, bytes=kept.bytes)
        for path in [path for path in files if path.rpartition("/")[2] in IGNORED]:
            del files[path]
        try:
            return proven(files.values(), self._blobs.path, self._uploads.keep)
        except BrokenFile as cause:
            raise BadRequest(cause.message, param="path") from cause

    def register(
        self,
        connection: Connection,
        model: str,
        branch: str,
        head: str | None,
        accepted: Accepted,
        actor: Actor,
    ) -> RevisionRow:
        """The revision, and its branch at it. Raises Conflict where `main` would go back."""
        known = queries.get(connection, model, accepted.manifest.revision)
        if branch in MAINS and known is not None and known.id != head:
            raise Conflict(
                f"These are the files of {commit_of(known.id)}, an older revision: point an alias "
                "at it, for main is the newest.",
                param="revision",
            )
        row = revisions.register(
            connection,
            model,
            accepted.manifest,
            digest=accepted.digest,
            source="push",
            licence=accepted.licence,
            facts=accepted.facts,
            actor=actor,
        )
        if branch not in MAINS:
            revisions.point(connection, model, branch, row, actor=actor)
            serving.settle(connection, model, self._blobs)
        return row


def check_parent(wanted: Wanted, before: Found | None) -> None:
    """Raises Conflict where somebody else was quicker."""
    parent = wanted.head.parent_commit
    if parent is not None and (before is None or not before.state.id.startswith(parent)):
        raise Conflict("The branch has moved on since that commit.", param="parentCommit")
