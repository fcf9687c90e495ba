"""Asks ModelScope, or the site that MODELSCOPE_ENDPOINT or MODELSCOPE_DOMAIN names, for one file.

Source: the hub's public API as its own client uses it (modelscope-hub 0.5.1): a listing that is
cut in silence at 3,000 entries, and downloads by revision and path.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from haneul.base.errors import FetchFailed
from haneul.models.choice import choose
from haneul.models.fetch import Fetcher
from haneul.models.offer import Listed, Offer, Offered, Part
from haneul.models.piece import Piece
from haneul.models.reference import Reference

PUBLIC = "https://modelscope.cn"


class _File(Struct, rename="pascal"):
    path: str
    type: str = "blob"
    size: int | None = None
    sha256: str | None = None


class _Files(Struct, rename="pascal"):
    files: list[_File] | None = None


class _Listing(Struct, rename="pascal"):
    code: int = 200
    message: str | None = None
    data: _Files | None = None


class ModelScope:
    """The hub, as MODELSCOPE_ENDPOINT, MODELSCOPE_DOMAIN and MODELSCOPE_API_TOKEN say."""

    name = "modelscope"

    def __init__(self, fetcher: Fetcher, environ: Mapping[str, str]) -> None:
        self._fetcher = fetcher
        site = environ.get("MODELSCOPE_ENDPOINT") or environ.get("MODELSCOPE_DOMAIN") or PUBLIC
        self._base = (site if "://" in site else f"https://{site}").rstrip("/")
        token = environ.get("MODELSCOPE_API_TOKEN", "").strip()
        self._credentials = {"Cookie": f"m_session_id={quote(token)}"} if token else {}
        if self._base != PUBLIC:
            fetcher.trust(self._base)

    async def find(self, reference: Reference) -> Offer:
        """The file that the reference means. Raises FetchFailed."""
        revision = reference.revision or "master"
        api = f"{self._base}/api/v1/models/{reference.name}/repo"
        query = urlencode({"Revision": revision, "Recursive": "True"})
        answer = await self._fetcher.get_json(f"{api}/files?{query}", credentials=self._credentials)
        choice = choose(_files(answer), reference)
        return Offer(
            source=self.name,
            revision=revision,
            format=choice.format,
            files=tuple(self._offered(api, revision, file) for file in choice.files),
            left_out=choice.left_out,
        )

    def _offered(self, api: str, revision: str, file: Listed) -> Offered:
        query = urlencode({"Revision": revision, "FilePath": file.path})
        piece = Piece(
            url=f"{api}?{query}",
            bytes=file.bytes,
            sha256=file.sha256,
            credentials=self._credentials,
        )
        part = Part(piece=piece, bytes=file.bytes)
        return Offered(path=file.path, parts=(part,), sha256=file.sha256, bytes=file.bytes)


def _files(answer: object) -> list[Listed]:
    try:
        listing = msgspec.convert(answer, _Listing)
    except msgspec.ValidationError as cause:
        raise FetchFailed(f"ModelScope answered something unknown: {cause}.") from cause
    if listing.code != 200 or listing.data is None:
        raise FetchFailed(f"ModelScope refuses: {listing.message or listing.code}.")
    return [
        Listed(file.path, file.size, (file.sha256 or "").lower())
        for file in listing.data.files or []
        if file.type != "tree"
    ]
