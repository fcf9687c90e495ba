"""How a command reaches the running cloud: over its own socket, as the owner of its home."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from haneul.base.errors import CommandError, HaneulError
from haneul.base.places import cloud_socket

ANSWER_S = 600.0
NOT_RUNNING = "the cloud is not running: start it with 'haneul up'"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def is_running(home: Path) -> bool:
    """Whether a cloud answers on this home."""
    try:
        ask(home, "GET", "/healthz")
    except CommandError:
        return False
    return True


def ask(home: Path, method: str, path: str, body: Any = None) -> Any:
    """The answer of the running cloud. Raises CommandError."""
    with _send(home, method, path, body) as answer:
        return msgspec.json.decode(answer.read())


def events(home: Path, path: str, body: Any) -> Iterator[dict[str, Any]]:
    """The events of a streamed answer; the first holds its request id. Raises CommandError."""
    with _send(home, "POST", path, body) as answer:
        yield {"request_id": answer.headers["x-request-id"]}
        for line in answer:
            if line.startswith(b"data: {"):
                event = msgspec.json.decode(line[6:])
                if "error" in event:
                    raise CommandError(event["error"]["message"])
                yield event


def _send(home: Path, method: str, path: str, body: Any) -> http.client.HTTPResponse:
    connection = _UnixConnection(cloud_socket(home))
    data = None if body is None else msgspec.json.encode(body)
    try:
        headers = {"content-type": "application/json", "connection": "close"}  # the answer's socket
        connection.request(method, path, body=data, headers=headers)
        answer = connection.getresponse()
    except (FileNotFoundError, ConnectionRefusedError) as cause:
        connection.close()
        raise CommandError(NOT_RUNNING) from cause
    except (OSError, http.client.HTTPException) as cause:
        connection.close()
        raise CommandError(f"the cloud does not answer: {cause}") from cause
    if answer.status < 400:
        return answer
    raise _refusal(answer)


def _refusal(answer: http.client.HTTPResponse) -> HaneulError:
    try:
        return CommandError(msgspec.json.decode(answer.read())["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return CommandError(f"the cloud answered with status {answer.status}")
