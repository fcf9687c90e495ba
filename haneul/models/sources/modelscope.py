"""Lists a repository of ModelScope, or of the site that MODELSCOPE_ENDPOINT names.

The listing knows no pages: it is cut in silence at 3,000 entries, and only a folder at a time can
be seen beyond that. Source: the hub's public API as its own client uses it (modelscope-hub 0.5.1:
_legacy_api.py).
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import FetchFailed
from haneul.models.manifest import SHA256
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.piece import Piece
from haneul.models.reference import Reference
from haneul.models.sources.hub_settings import HubSettings
from haneul.models.sources.listing import Listing
from haneul.models.sources.offer import Listed, Part

T = TypeVar("T")
CUT_AT = 3_000  # entries in one listing
LISTINGS_MAX = 64  # for one repository
LICENCE_S = 0.5  # the licence is worth waiting for so long once the files are known


class _File(Struct, rename="pascal"):
    path: str
    type: str = "blob"
    size: Annotated[int, Meta(ge=0, le=1 << 50)] | None = None
    sha256: str | None = None


class _Files(Struct, rename="pascal"):
    files: list[_File] | None = None


class _Card(Struct, rename="pascal"):
    license: Any = None


class ModelScope:
    """The hub, as its settings say."""

    def __init__(self, fetcher: Fetcher, settings: HubSettings, *, cut_at: int = CUT_AT) -> None:
        self._fetcher, self._settings, self._cut_at = fetcher, settings, cut_at
        self.name = settings.name
        if settings.is_own:
            fetcher.trust(settings.base)

    async def listing(self, reference: Reference) -> Listing:
        """The repository at the reference's revision as it is now. Raises FetchFailed."""
        revision = reference.revision or "master"
        api = f"{self._settings.base}/api/v1/models/{reference.name}"
        asked = asyncio.create_task(self._licence(api))
        try:
            entries = await self._all(f"{api}/repo/files", revision)
            files = [_listed(entry) for entry in entries if entry.type != "tree"]
            return Listing(
                source=self.name,
                revision=revision,
                files=tuple(files),
                parts={file.path: self._part(f"{api}/repo", revision, file) for file in files},
                licence=await _soon(asked),
            )
        finally:
            asked.cancel()

    async def _all(self, url: str, revision: str) -> list[_File]:
        """Every entry, folder by folder where one listing cannot hold them."""
        found: dict[str, _File] = {}
        folders, asked = [""], 0
        while folders:
            folder, asked = folders.pop(), asked + 1
            if asked > LISTINGS_MAX:
                raise FetchFailed("The repository has more files than a model has.")
            entries = await self._list(url, revision, folder, is_deep=True)
            found.update((entry.path, entry) for entry in entries)
            if len(entries) >= self._cut_at:
                near = await self._list(url, revision, folder, is_deep=False)
                found.update((entry.path, entry) for entry in near)
                folders += [entry.path for entry in near if entry.type == "tree"]
                asked += 1
        return list(found.values())

    async def _list(self, url: str, revision: str, folder: str, *, is_deep: bool) -> list[_File]:
        query = {"Revision": revision, "Recursive": str(is_deep)}
        query |= {"Root": folder} if folder else {}
        answer = await self._get(f"{url}?{urlencode(query)}", _Files)
        return answer.files or []

    async def _licence(self, url: str) -> str:
        """As the model's page says it; "" where that cannot be had."""
        try:
            said = (await self._get(url, _Card)).license
        except FetchFailed:
            return ""
        return said if isinstance(said, str) else ""

    async def _get(self, url: str, kind: type[T]) -> T:
        """What is in the envelope that the hub puts around every answer."""
        answer = await self._fetcher.get_json(url, credentials=self._settings.credentials)
        said = answer if isinstance(answer, dict) else {}
        if said.get("Code", 200) != 200 or said.get("Data") is None:
            reason = str(said.get("Message") or said.get("Code") or "no data")
            raise FetchFailed(f"{self.name} refuses: {reason[:200]}.")
        try:
            return msgspec.convert(said["Data"], kind)
        except msgspec.ValidationError as cause:
            raise FetchFailed(f"{self.name} answered something unknown: {cause}.") from cause

    def _part(self, url: str, revision: str, file: Listed) -> Part:
        query = urlencode({"Revision": revision, "FilePath": file.path})
        piece = Piece(
            url=f"{url}?{query}",
            bytes=file.bytes,
            sha256=file.sha256,
            credentials=self._settings.credentials,
        )
        return Part(piece=piece, bytes=file.bytes)


async def _soon(asked: asyncio.Task[str]) -> str:
    """Its result; "" where that takes too long."""
    done, _ = await asyncio.wait([asked], timeout=LICENCE_S)
    return asked.result() if done else ""


def _listed(file: _File) -> Listed:
    sha256 = (file.sha256 or "").lower()
    return Listed(file.path, file.size, sha256 if SHA256.fullmatch(sha256) else "")
