"""What a source offers for a wanted model: which files, from where, what it promises of each."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from haneul.models.manifest import Format
from haneul.models.pulling.piece import Piece
from haneul.models.reference import Reference


class Wanted(Struct, frozen=True, kw_only=True):
    """One way to a model: references whose bytes, joined in order, are the file.

    A pinned hash and size hold whoever serves the bytes; without them the source's own listing is
    the promise. They are of one file, so a way to several has none.
    """

    parts: tuple[Reference, ...]
    sha256: str = ""
    bytes: int | None = None


class Part(Struct, frozen=True, kw_only=True):
    """One of a remote piece, a file of this machine, or bytes that came with the offer.

    Of an archive only the member is taken. A file of this machine belongs to somebody else, such
    as another tool's cache: it is linked or copied, never moved or written to.
    """

    piece: Piece | None = None
    path: Path | None = None
    content: bytes | None = None
    member: str = ""
    bytes: int | None = None  # to be fetched


class Offered(Struct, frozen=True, kw_only=True):
    """One file of a revision: its path in there, and the parts that make it, joined in order."""

    path: str
    parts: tuple[Part, ...]
    sha256: str = ""  # of the finished file; "": the source does not say
    bytes: int | None = None  # of the finished file


class Listed(Struct, frozen=True):
    """A file in a hub's listing."""

    path: str
    bytes: int | None = None
    sha256: str = ""


class LeftOut(Struct, frozen=True):
    """A file of the repository that is not taken, and why, in words."""

    path: str
    reason: str


class Offer(Struct, frozen=True, kw_only=True):
    """A source's answer: what it has, not yet fetched. The weights come before the other files."""

    source: str
    revision: str
    files: tuple[Offered, ...]
    format: Format = "gguf"
    licence: str = ""  # as the source says it
    left_out: tuple[LeftOut, ...] = ()
    others: tuple[Listed, ...] = ()  # weights that the repository also has

    @property
    def bytes(self) -> int | None:
        """Bytes of all files together; None where the source does not say one of them."""
        sizes = [file.bytes for file in self.files if file.bytes is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None
