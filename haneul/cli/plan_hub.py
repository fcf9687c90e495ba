"""The measures of a model that only its hub knows: its header is asked for, no weights."""

from __future__ import annotations

import asyncio

from haneul.base.errors import BrokenFile
from haneul.chips.shape import Shape
from haneul.models.preview import preview
from haneul.models.previewed import Preview
from haneul.models.pulling.fetch import Fetcher
from haneul.models.reference import parse


def ask(text: str) -> tuple[Shape, str]:
    """The shape and where it is from. Raises FetchFailed, BadRequest and BrokenFile."""
    found = asyncio.run(_ask(text))
    if found.shape is None:
        raise BrokenFile(f"The measures of {found.name} are unknown: {found.reason}.")
    return found.shape, f"its header at {found.source}, revision {found.revision[:12] or 'unknown'}"


async def _ask(text: str) -> Preview:
    async with Fetcher() as fetcher:
        return await preview(parse(text), fetcher=fetcher)
