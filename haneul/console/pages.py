"""The files of the page, read once at the start: small, without a build step."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import Struct

FOLDER = Path(__file__).parent / "static"
CONTENT_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class Page(Struct, frozen=True):
    """One file as it is sent."""

    data: bytes
    content_type: bytes
    etag: bytes


def read_pages() -> dict[str, Page]:
    """Address to file: `/` is index.html, everything else lies under /static/."""
    pages = {f"/static/{path.name}": _page(path) for path in sorted(FOLDER.iterdir())}
    pages["/"] = pages.pop("/static/index.html")
    return pages


def _page(path: Path) -> Page:
    data = path.read_bytes()
    etag = b'"' + hashlib.sha256(data).hexdigest()[:16].encode() + b'"'
    return Page(data, CONTENT_TYPES[path.suffix], etag)
