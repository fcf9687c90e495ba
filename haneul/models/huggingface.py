"""Asks Hugging Face, or the mirror that HF_ENDPOINT names, for one file of a repository.

One request gives the commit, the files with their sizes and hashes, and the licence; the download
is then pinned to that commit. Source: the hub's public API as its own client uses it
(huggingface_hub 2.4, HfApi.model_info with files_metadata).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from haneul.base.errors import FetchFailed
from haneul.models.choice import choose
from haneul.models.fetch import Fetcher
from haneul.models.offer import Listed, Offer, Offered, Part
from haneul.models.piece import Piece
from haneul.models.reference import Reference

PUBLIC = "https://huggingface.co"


class _Lfs(Struct):
    sha256: str = ""
    size: int | None = None


class _Sibling(Struct):
    rfilename: str
    size: int | None = None
    lfs: _Lfs | None = None


class _Model(Struct):
    sha: str
    siblings: list[_Sibling] = []
    card: Any = field(default=None, name="cardData")
    tags: list[str] = []


class HuggingFace:
    """The hub, as HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE say."""

    name = "huggingface"

    def __init__(self, fetcher: Fetcher, environ: Mapping[str, str]) -> None:
        self._fetcher = fetcher
        self._base = (environ.get("HF_ENDPOINT") or PUBLIC).rstrip("/")
        self._is_offline = environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
        token = environ.get("HF_TOKEN", "").strip()
        self._credentials = {"Authorization": f"Bearer {token}"} if token else {}
        if self._base != PUBLIC:
            fetcher.trust(self._base)

    async def find(self, reference: Reference) -> Offer:
        """The file that the reference means, at its present commit. Raises FetchFailed."""
        if self._is_offline:
            raise FetchFailed("HF_HUB_OFFLINE says not to ask Hugging Face.")
        revision = quote(reference.revision or "main", safe="")
        url = f"{self._base}/api/models/{reference.name}/revision/{revision}?blobs=true"
        answer = await self._fetcher.get_json(url, credentials=self._credentials)
        try:
            model = msgspec.convert(answer, _Model)
        except msgspec.ValidationError as cause:
            raise FetchFailed(f"Hugging Face answered something unknown: {cause}.") from cause
        choice = choose([_listed(entry) for entry in model.siblings], reference)
        return Offer(
            source=self.name,
            revision=model.sha,
            format=choice.format,
            files=tuple(self._offered(reference, model.sha, file) for file in choice.files),
            licence=_licence(model),
            left_out=choice.left_out,
        )

    def _offered(self, reference: Reference, commit: str, file: Listed) -> Offered:
        place = f"{self._base}/{reference.name}/resolve/{quote(commit)}/{quote(file.path)}"
        piece = Piece(
            url=place, bytes=file.bytes, sha256=file.sha256, credentials=self._credentials
        )
        part = Part(piece=piece, bytes=file.bytes)
        return Offered(path=file.path, parts=(part,), sha256=file.sha256, bytes=file.bytes)


def _listed(entry: _Sibling) -> Listed:
    if entry.lfs is None:
        return Listed(entry.rfilename, entry.size)
    return Listed(entry.rfilename, entry.lfs.size or entry.size, entry.lfs.sha256.lower())


def _licence(model: _Model) -> str:
    """The card's licence, or the tag that the hub made of it; "" is unknown."""
    card = model.card if isinstance(model.card, dict) else {}
    said = card.get("license")
    if isinstance(said, str) and said != "other":
        return said
    named = card.get("license_name")
    if isinstance(named, str):
        return named
    tags = (tag.removeprefix("license:") for tag in model.tags if tag.startswith("license:"))
    return next(tags, "")
