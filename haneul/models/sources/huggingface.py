"""Lists a repository of Hugging Face, or of whatever speaks its API: a mirror, another haneul.

The commit comes with the files, and downloads are pinned to it. A hub that lists no sizes with
its model (some mirrors do not), or too many files for one answer, is asked for the tree of that
commit, page by page. Source: the hub's public API as its own client uses it (huggingface_hub 2.4:
HfApi.model_info, HfApi.list_repo_tree, utils/_pagination.py, utils/_http.py).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct, field

from haneul.base.errors import FetchFailed
from haneul.models.manifest import SHA256
from haneul.models.pulling.fetch import Fetcher, Text
from haneul.models.pulling.piece import Piece
from haneul.models.reference import Reference
from haneul.models.sources.hub_settings import HubSettings
from haneul.models.sources.listing import Listing
from haneul.models.sources.offer import Listed, Part

T = TypeVar("T")
SIBLINGS_MAX = 50_000  # a hub shortens longer lists in silence
PAGES_MAX = 100  # of 1,000 entries each
CODES = {
    "RepoNotFound": "{base} has no model {name}, or it is private and needs a token (HF_TOKEN).",
    "RevisionNotFound": "{name} has no revision '{revision}' at {base}.",
    "GatedRepo": "{name} is gated: accept its conditions at {page}, then set HF_TOKEN.",
    "DisabledRepo": "{name} was disabled at {base}.",
}


Size = Annotated[int, Meta(ge=0, le=1 << 50)]
Commit = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


class _Lfs(Struct):
    sha256: str = ""
    oid: str = ""  # the same, in a tree
    size: Size | None = None


class _Sibling(Struct):
    rfilename: str
    size: Size | None = None
    lfs: _Lfs | None = None


class _Model(Struct):
    sha: Commit
    siblings: list[_Sibling] = []
    card: Any = field(default=None, name="cardData")
    tags: list[str] = []


class _Entry(Struct):
    path: str
    type: str
    size: Size | None = None
    lfs: _Lfs | None = None


class HuggingFace:
    """One hub that speaks this API."""

    def __init__(self, fetcher: Fetcher, settings: HubSettings) -> None:
        self._fetcher, self._settings = fetcher, settings
        self.name = settings.name
        if settings.is_own:
            fetcher.trust(settings.base)

    async def listing(self, reference: Reference) -> Listing:
        """The repository at the reference's revision as it is now. Raises FetchFailed."""
        if self._settings.is_offline:
            raise FetchFailed("HF_HUB_OFFLINE says not to ask Hugging Face.")
        base, name = self._settings.base, reference.name
        revision = quote(reference.revision or "main", safe="")
        url = f"{base}/api/models/{name}/revision/{revision}?blobs=true"
        model = self._read((await self._get(url, reference)).body, _Model)
        files = [_sibling(entry) for entry in model.siblings]
        if len(files) >= SIBLINGS_MAX or any(file.bytes is None for file in files):
            files = await self._tree(reference, model.sha)
        place = f"{base}/{name}/resolve/{quote(model.sha, safe='')}"
        return Listing(
            source=self.name,
            revision=model.sha,
            files=tuple(files),
            parts={file.path: self._part(f"{place}/{quote(file.path)}", file) for file in files},
            licence=_licence(model),
        )

    async def _tree(self, reference: Reference, commit: str) -> list[Listed]:
        """Every file of the commit, page by page."""
        place = f"{self._settings.base}/api/models/{reference.name}/tree"
        url = f"{place}/{quote(commit, safe='')}?recursive=true&expand=false"
        files: list[Listed] = []
        for _ in range(PAGES_MAX):
            text = await self._get(url, reference)
            entries = self._read(text.body, list[_Entry])
            files += [_file(entry) for entry in entries if entry.type == "file"]
            if not text.next_url:
                return files
            if urlsplit(text.next_url)[:2] != urlsplit(url)[:2]:
                raise FetchFailed(f"{self.name} continues its listing at another host.")
            url = text.next_url
        raise FetchFailed(f"{reference.name} has more files than a model has.")

    async def _get(self, url: str, reference: Reference) -> Text:
        try:
            return await self._fetcher.get_text(
                url, accept="application/json", credentials=self._settings.credentials
            )
        except FetchFailed as failure:
            code = failure.facts.get("upstream_code", "")
            if code not in CODES:
                raise
            base = urlsplit(self._settings.base)
            message = CODES[code].format(
                base=base.netloc,
                name=reference.name,
                revision=reference.revision,
                page=f"{self._settings.base}/{reference.name}",
            )
            raise FetchFailed(message, **failure.facts) from failure

    def _read(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as cause:
            raise FetchFailed(f"{self.name} answered something unknown: {cause}.") from cause

    def _part(self, url: str, file: Listed) -> Part:
        piece = Piece(
            url=url,
            bytes=file.bytes,
            sha256=file.sha256,
            credentials=self._settings.credentials,
        )
        return Part(piece=piece, bytes=file.bytes)


def _sibling(entry: _Sibling) -> Listed:
    return _listed(entry.rfilename, entry.size, entry.lfs)


def _file(entry: _Entry) -> Listed:
    return _listed(entry.path, entry.size, entry.lfs)


def _listed(path: str, size: int | None, lfs: _Lfs | None) -> Listed:
    """A small file has no SHA-256 there, only git's own hash."""
    if lfs is None:
        return Listed(path, size)
    sha256 = (lfs.sha256 or lfs.oid).lower()
    return Listed(path, lfs.size or size, sha256 if SHA256.fullmatch(sha256) else "")


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
