"""multipart/form-data, whole or as it comes, strict and bounded. Source: RFC 7578; RFC 2046, 5.1.

A part has a Content-Disposition with a name, perhaps a file name, perhaps a Content-Type; other
headers of a part are not for us (RFC 7578, 4.8). Whatever is not of that form is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


class Head(Struct, frozen=True):
    """What a part says of itself; a file has a file name."""

    name: str
    filename: str | None = None


class Part(Struct, frozen=True):
    """One field of a form; a file has a file name."""

    name: str
    data: bytes
    filename: str | None = None


Step = Callable[[list[Head | bytes]], bool]


def read_form(data: bytes, content_type: str) -> list[Part]:
    """The parts of a whole form, in their order. Raises BadRequest."""
    form, found = Form(content_type), list[tuple[Head, list[bytes]]]()
    for told in form.feed(data):
        if isinstance(told, Head):
            found.append((told, []))
        else:
            found[-1][1].append(told)
    form.end()
    return [Part(head.name, b"".join(pieces), head.filename) for head, pieces in found]


class Form:
    """A form as it comes: `feed` it what comes, and `end` it."""

    def __init__(self, content_type: str) -> None:
        self._between = b"\r\n--" + boundary_of(content_type).encode()
        self._rest = b"\r\n"  # not told yet; the first boundary may stand at the very beginning
        self._step: Step = self._preamble
        self._parts = 0

    def feed(self, data: bytes) -> list[Head | bytes]:
        """What has come in: heads, each followed by pieces of its part. Raises BadRequest."""
        self._rest += data
        told: list[Head | bytes] = []
        while self._step(told):
            pass
        return told

    def end(self) -> None:
        """All has come. Raises BadRequest where that is not all of the form."""
        if self._step == self._preamble:
            raise BadRequest("The form does not begin with its boundary.")
        if self._step == self._behind and re.fullmatch(rb"--[ \t]*", self._rest):
            return
        if self._step != self._epilogue:
            raise BadRequest("The form is cut: its last boundary is missing.")

    # steps: each takes something off the rest, and says whether the next may go on
    def _preamble(self, told: list[Head | bytes]) -> bool:
        at = self._rest.find(self._between)
        if at < 0:
            self._rest = self._rest[-len(self._between) :]
            return False
        return self._go(at + len(self._between), self._behind)

    def _behind(self, told: list[Head | bytes]) -> bool:
        """The line of a boundary: another part follows, or nothing."""
        if re.match(rb"--[ \t]*\r\n", self._rest):
            return self._go(len(self._rest), self._epilogue)
        if line := re.match(rb"[ \t]*\r\n", self._rest):
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise BadRequest(f"The form has more than {PARTS_MAX} fields.")
            return self._go(line.end() - 2, self._head)  # an empty head has no line of its own
        if len(self._rest) > HEAD_MAX_BYTES or not re.fullmatch(rb"-?|(--)?[ \t]*\r?", self._rest):
            raise BadRequest("A boundary of the form is followed by something else.")
        return False

    def _head(self, told: list[Head | bytes]) -> bool:
        at = self._rest.find(b"\r\n\r\n")
        before = self._rest.find(self._between)
        is_cut = before >= 0 and (at < 0 or before < at + 4)
        if is_cut or (at if at >= 0 else len(self._rest)) > HEAD_MAX_BYTES:
            raise BadRequest("A field of the form has no head, or one that is too long.")
        if at < 0 or len(self._rest) < at + 2 + len(self._between):
            return False  # a boundary may overlap the head's end
        told.append(_named(_headers(self._rest[:at])))
        return self._go(at + 4, self._data)

    def _data(self, told: list[Head | bytes]) -> bool:
        at = self._rest.find(self._between)
        safe = at if at >= 0 else len(self._rest) - len(self._between) + 1
        if safe > 0:
            told.append(self._rest[:safe])
        if at < 0:
            self._rest = self._rest[max(0, safe) :]
            return False
        return self._go(at + len(self._between), self._behind)

    def _epilogue(self, told: list[Head | bytes]) -> bool:
        self._rest = b""
        return False

    def _go(self, at: int, step: Step) -> bool:
        self._rest, self._step = self._rest[at:], step
        return True


def boundary_of(content_type: str) -> str:
    """What parts are parted by. Raises BadRequest when it is another kind of body."""
    found = _KIND.fullmatch(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest("The request must be multipart/form-data with a boundary.")
    return boundary


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


def _named(headers: dict[str, str]) -> Head:
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
    return Head(name, parameters.get("filename"))


def _unescaped(value: str) -> str:
    """Browsers write %22, others backslashes (RFC 7578, 4.2 leaves it open)."""
    return re.sub(r"\\(.)", r"\1", value).replace("%22", '"')
