"""A web server of files with bad manners: slow, cut off, overrun, or lying about ranges.

It serves FOLDER/PATH under /PATH, and the folder as the repository org/repo as Hugging Face lists
and resolves one. Threads and sendfile, so that it is no bottleneck before a fast client; as a
process of its own: `python -m haneul.testing.rough FOLDER '{"rate_bytes_s": 1e7}'` prints its URL.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self
from urllib.parse import unquote

import msgspec
from msgspec import Struct

SLICE_BYTES = 64 << 10
HEAD_MAX_BYTES = 64 << 10
COMMIT = "c0ffee" * 6 + "c0ff"
REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 416: "No", 503: "Busy"}

Lie = Literal[
    "ignores ranges",
    "another range",  # sends and says other bytes than were asked for
    "shifted bytes",  # says the range that was asked for and sends another
    "another length",  # its length is not that of its range
    "no range said",
    "another total",
    "shorter",  # a part of the range, said honestly; this is allowed
    "wrong byte",
    "gzip",
    "chunked and longer",
    "empty",
]


class Manners(Struct, frozen=True, kw_only=True):
    """How it behaves; the defaults are well."""

    rate_bytes_s: float = 0.0  # of each connection; 0: as fast as it goes
    cut_bytes: tuple[int, int] | None = None  # each answer breaks off after so many, at random
    lies: tuple[Lie, ...] = ()
    lie_share: float = 1.0  # of the answers
    answers_after_s: float = 0.0
    connections_max: int = 0  # more are answered with 503; 0: any number
    silent_after_bytes: int = 0  # then an answer goes on for ever without a byte; 0: never
    etag: str = ""  # sent with every answer
    seed: int = 0


class Asked(NamedTuple):
    """A request for a file that came."""

    path: str
    start: int
    end: int
    total: int
    is_range: bool


class RoughServer:
    """Serves on a free port of 127.0.0.1 within `with`; `manners` may be changed meanwhile."""

    def __init__(self, folder: Path, manners: Manners | None = None) -> None:
        self.folder = folder
        self.manners = manners or Manners()
        self.asked: list[Asked] = []
        self.sent_bytes = 0
        self._random = random.Random(self.manners.seed)  # noqa: S311 - the same lies each time
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for line in self._open:
                with suppress(OSError):  # the client was faster
                    line.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        try:
            with line.makefile("rb") as reader:
                while (head := _read_head(reader.readline)) and self._answer(line, head):
                    pass
        except OSError:
            pass  # the client has gone
        finally:
            with self._lock:
                self._open.discard(line)
            line.close()

    def _answer(self, line: socket.socket, head: str) -> bool:
        """Answers one request; whether the connection can take another."""
        path = unquote(head.split(" ")[1].partition("?")[0])
        if path.startswith("/api/models/"):
            _send_whole(line, 200, json.dumps(self._listing()).encode())
            return True
        file = self.folder / re.sub(r"^/org/repo/resolve/[^/]+/|^/", "", path)
        if not file.is_file():
            _send_whole(line, 404, b"")
            return True
        with self._lock:
            is_crowd = 0 < self.manners.connections_max < len(self._open)
        if is_crowd:
            _send_whole(line, 503, b"", "Retry-After: 1\r\nConnection: close\r\n")
            return False
        total = file.stat().st_size
        found = re.search(r"^range: *bytes=(\d+)-(\d*)", head, re.IGNORECASE | re.MULTILINE)
        start = int(found[1]) if found else 0
        end = min(int(found[2]) + 1, total) if found and found[2] else total
        if found and start >= total:
            _send_whole(line, 416, b"")
            return True
        asked = Asked(path, start, end, total, is_range=found is not None)
        with self._lock:
            self.asked.append(asked)
        return self._send(line, file, asked)

    def _send(self, line: socket.socket, file: Path, asked: Asked) -> bool:
        manners, dice = self.manners, self._random
        lie: Lie | None = None
        if manners.lies and dice.random() < manners.lie_share:
            lie = dice.choice(manners.lies)
        plan = _plan(asked, lie, manners.etag)
        time.sleep(manners.answers_after_s)
        line.sendall(plan.head.encode())
        limit = dice.randint(*manners.cut_bytes) if manners.cut_bytes else plan.end - plan.start
        end = min(plan.end, plan.start + limit)
        self._send_bytes(line, file, plan._replace(end=end))
        if end < plan.end:
            # A reset, as from a router that was switched off.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if plan.is_chunked:
            line.sendall(b"0\r\n\r\n")
        return not plan.is_last

    def _send_bytes(self, line: socket.socket, file: Path, plan: _Plan) -> None:
        manners, began_s, at = self.manners, time.monotonic(), plan.start
        with file.open("rb") as source:
            while at < plan.end:
                silent = manners.silent_after_bytes
                if silent and at - plan.start >= silent:
                    time.sleep(3600)
                count = plan.end - at
                if manners.rate_bytes_s or silent or plan.is_chunked or plan.is_wrong:
                    count = min(count, SLICE_BYTES)
                if plan.is_chunked or plan.is_wrong:
                    source.seek(at)
                    data = bytearray(source.read(count))
                    data[0] ^= plan.is_wrong and at == plan.start
                    mark = f"{len(data):x}\r\n".encode() if plan.is_chunked else b""
                    line.sendall(mark + data + (b"\r\n" if plan.is_chunked else b""))
                else:
                    line.sendfile(source, at, count)
                at += count
                self.sent_bytes += count
                if manners.rate_bytes_s:
                    ahead_s = (at - plan.start) / manners.rate_bytes_s
                    time.sleep(max(0.0, began_s + ahead_s - time.monotonic()))

    def _listing(self) -> dict[str, object]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        siblings = []
        for path in files:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            name = path.relative_to(self.folder).as_posix()
            lfs = {"sha256": digest, "size": size, "pointerSize": 134}
            siblings.append({"rfilename": name, "size": size, "lfs": lfs})
        return {"sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}}


class _Plan(NamedTuple):
    """The head of an answer and which bytes follow it."""

    head: str
    start: int
    end: int
    is_wrong: bool
    is_chunked: bool
    is_last: bool  # of its connection


def _plan(asked: Asked, lie: Lie | None, etag: str) -> _Plan:
    start, end, total = asked.start, asked.end, asked.total
    is_range = asked.is_range and lie != "ignores ranges"
    if not is_range:
        start, end = 0, total
    if lie == "another range" and start >= 7:
        start -= 7
    if lie == "shorter":
        end = start + max(1, (end - start) // 2)
    said, length = f"{start}-{end - 1}/{total + (lie == 'another total')}", end - start
    if lie == "shifted bytes" and start >= 7:
        start, end = start - 7, end - 7
    if lie == "another length":
        end = start + max(1, length // 2)
        length = end - start
    if lie == "empty":
        start = end = total
        length = 0
    is_chunked = lie == "chunked and longer"
    if is_chunked:
        end = total
    lines = [f"HTTP/1.1 {206 if is_range else 200} {REASONS[206 if is_range else 200]}"]
    lines += ["Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {length}"]
    if is_range and lie != "no range said":
        lines.append(f"Content-Range: bytes {said}")
    if etag:
        lines.append(f"ETag: {etag}")
    if lie == "gzip":
        lines.append("Content-Encoding: gzip")
    head = "\r\n".join(lines) + "\r\n\r\n"
    return _Plan(head, start, end, lie == "wrong byte", is_chunked, is_last=lie is not None)


def _read_head(readline: Callable[[int], bytes]) -> str:
    lines: list[bytes] = []
    while True:
        row = readline(HEAD_MAX_BYTES)
        if not row or row in (b"\r\n", b"\n"):
            return b"".join(lines).decode("latin-1")
        lines.append(row)


def _send_whole(line: socket.socket, status: int, body: bytes, more: str = "") -> None:
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    line.sendall(head.encode() + body)


def main() -> None:
    """Serves until its standard input ends."""
    manners = msgspec.json.decode(sys.argv[2], type=Manners) if len(sys.argv) > 2 else None
    with RoughServer(Path(sys.argv[1]), manners) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
