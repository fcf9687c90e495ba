"""multipart/form-data, whole in memory, strict and bounded. Source: RFC 7578 and RFC 2046, 5.1.

A part has a Content-Disposition with a name, perhaps a file name, perhaps a Content-Type; other
headers of a part are not for us (RFC 7578, 4.8). Whatever is not of that form is refused.
"""

from __future__ import annotations

import re

from msgspec import Struct

from haneul.base.errors import BadRequest

PARTS_MAX = 64
HEAD_MAX_BYTES = 4096
NAME_MAX_CHARS = 128

_KIND = re.compile(
    r'\s*multipart/form-data\s*(?:;[^;"]*)*?;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;.*)?',
    re.IGNORECASE,
)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(r'\s*;\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')


class Part(Struct, frozen=True):
    """One field of a form; a file has a file name."""

    name: str
    data: bytes
    filename: str | None = None


def read_form(data: bytes, content_type: str) -> list[Part]:
    """The parts in their order. Raises BadRequest."""
    line = b"--" + boundary_of(content_type).encode()
    body = data if data.startswith(line) else _behind_preamble(data, line)
    pieces = body[len(line) :].split(b"\r\n" + line, PARTS_MAX + 1)
    if len(pieces) > PARTS_MAX + 1:
        raise BadRequest(f"The form has more than {PARTS_MAX} fields.")
    *parts, last = pieces
    if not re.match(rb"--[ \t]*(\r\n|$)", last):
        raise BadRequest("The form is cut: its last boundary is missing.")
    return [_part(piece) for piece in parts]


def boundary_of(content_type: str) -> str:
    """What parts are parted by. Raises BadRequest when it is another kind of body."""
    found = _KIND.fullmatch(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest("The request must be multipart/form-data with a boundary.")
    return boundary


def _behind_preamble(data: bytes, line: bytes) -> bytes:
    at = data.find(b"\r\n" + line)
    if at < 0:
        raise BadRequest("The form does not begin with its boundary.")
    return data[at + 2 :]


def _part(piece: bytes) -> Part:
    rest = re.match(rb"[ \t]*\r\n", piece)  # of the boundary's line
    if rest is None:
        raise BadRequest("A boundary of the form is followed by something else.")
    head, found, data = piece[rest.end() - 2 :].partition(b"\r\n\r\n")
    if not found or len(head) > HEAD_MAX_BYTES:
        raise BadRequest("A field of the form has no head, or one that is too long.")
    return _named(_headers(head), data)


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name.strip() or name != name.strip():
            raise BadRequest("A field of the form has a head that cannot be read.")
        try:
            key = name.decode("ascii").lower()
            headers[key] = value.decode().strip()
        except UnicodeDecodeError as cause:
            raise BadRequest("A field of the form has a head that is not UTF-8.") from cause
    return headers


def _named(headers: dict[str, str], data: bytes) -> Part:
    disposition = headers.get("content-disposition", "")
    kind = re.match(r"form-data(?=\s*;)", disposition, re.IGNORECASE)
    if kind is None:
        raise BadRequest("A field of the form has no Content-Disposition of form-data.")
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise BadRequest("Transfer encodings of parts are not read (RFC 7578, 4.7).")
    parameters: dict[str, str] = {}
    at = kind.end()
    while found := _PARAMETER.match(disposition, at):
        value = found[2] if found[2] is not None else found[3]
        if parameters.setdefault(found[1].lower(), _unescaped(value)) != _unescaped(value):
            raise BadRequest("A field of the form is named twice.")
        at = found.end()
    name = parameters.get("name", "")
    if disposition[at:].strip() or not 0 < len(name) <= NAME_MAX_CHARS:
        raise BadRequest("A field of the form has no name that can be read.")
    return Part(name, data, parameters.get("filename"))


def _unescaped(value: str) -> str:
    """Browsers write %22, others backslashes (RFC 7578, 4.2 leaves it open)."""
    return re.sub(r"\\(.)", r"\1", value).replace("%22", '"')
