"""The offers for one model as they come in, and everybody who has the same bytes of a file."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from haneul.base.errors import HaneulError
from haneul.models.pulling.mirrors import Mirrors
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.race import offers
from haneul.models.sources.offer import Offer


class Supply:
    """Asks all sources within `async with`; iterate over it for their offers, the first first.

    A source that answers while a file is being fetched already joins in fetching it.
    """

    def __init__(
        self, asks: Sequence[Coroutine[Any, Any, Offer]], failures: list[HaneulError]
    ) -> None:
        self._asks, self._failures = asks, failures
        self._offers: list[Offer] = []
        self._left_out: list[Offer] = []
        self._mirrors: dict[str, Mirrors] = {}
        self._news = asyncio.Event()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            (came,) = await asyncio.gather(self._task, return_exceptions=True)
            if isinstance(came, Exception) and not self._offers:
                raise came  # no source's refusal, which are in failures: an error of ours

    async def __aiter__(self) -> AsyncIterator[Offer]:
        for number in itertools.count():
            while number >= len(self._offers):
                if self._is_over:
                    return
                await self._news.wait()
                self._news.clear()
            yield self._offers[number]

    def mirrors(self, source: str, piece: Piece) -> Mirrors:
        """Everybody who offers the piece's bytes, the source itself first, later ones to come."""
        found = Mirrors([(source, piece)])
        for offer in self._offers:
            if offer not in self._left_out:
                _add(found, offer)
        if piece.sha256:
            self._mirrors[piece.sha256] = found
        return found

    def leave_out(self, offer: Offer) -> None:
        """Does not ask the source of this offer for files of others any more."""
        self._left_out.append(offer)

    async def _listen(self) -> None:
        try:
            async with aclosing(offers(self._asks, self._failures)) as found:
                async for offer in found:
                    for mirrors in self._mirrors.values():
                        _add(mirrors, offer)
                    self._offers.append(offer)
                    self._news.set()
        finally:
            self._is_over = True
            self._news.set()


def _add(mirrors: Mirrors, offer: Offer) -> None:
    for piece in _plain_pieces(offer):
        mirrors.add(offer.source, piece)


def _plain_pieces(offer: Offer) -> Iterator[Piece]:
    """The files that are one remote piece as it is."""
    for file in offer.files:
        first = file.parts[0]
        if len(file.parts) == 1 and first.piece is not None and not first.member:
            yield first.piece
