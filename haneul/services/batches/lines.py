"""The lines of a batch's file: checked once, then read one by one; and the lines of its results.

{"custom_id": "…", "method": "POST", "url": "/v1/chat/completions", "body": {…}}
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from haneul.base.ids import new_id

LINES_MAX = 50_000
ERRORS_MAX = 100
# Why a file cannot be run, as clients find it in a batch's `errors`.
PROBLEMS = {
    "empty_file": "The file has no lines.",
    "too_many_lines": f"It has more than {LINES_MAX} lines.",
    "line_too_large": "A line is larger than a request may be.",
    "invalid_json_line": "A line is not valid JSON.",
    "invalid_request": "A line lacks a field, or has one that is not of a line.",
    "invalid_method": "A line's `method` is not POST.",
    "mismatched_url": "A line's `url` is not the batch's `endpoint`.",
    "duplicate_custom_id": "Two lines have one `custom_id`.",
}


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of a batch."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=512)]
    method: str
    url: str
    body: Raw


class Body(Struct, frozen=True):
    """As far as it must be known before it is asked."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]


class Problem(Struct, frozen=True):
    """Why a file cannot be run."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Found(Struct, frozen=True):
    """What a file holds: where its lines begin, the model of its first one, and what is wrong."""

    starts: array[int]
    model: str | None
    problems: list[Problem]

    @property
    def total(self) -> int:
        return len(self.starts) - 1


_line = msgspec.json.Decoder(Line)
_body = msgspec.json.Decoder(Body)


def read_line(data: bytes) -> tuple[Line, str]:
    """A line and its model. Raises msgspec.MsgspecError."""
    line = _line.decode(data)
    return line, _body.decode(line.body).model


def check(path: Path, endpoint: str, *, line_max_bytes: int) -> Found:
    """Reads the whole file, a line at a time; blank lines count for nothing."""
    starts, problems, model = array("q"), list[Problem](), None
    seen: set[str] = set()
    at = 0
    with path.open("rb") as file:
        while data := file.readline(line_max_bytes + 1):
            number = len(starts) + 1
            if len(data) > line_max_bytes:
                problems.append(
                    Problem("line_too_large", f"More than {line_max_bytes} bytes.", number)
                )
                break
            if data.strip():
                starts.append(at)
                first, problem = _check(data, endpoint, seen)
                model = model or first
                if problem is not None:
                    problems.append(msgspec.structs.replace(problem, line=number))
            at += len(data)
            if len(problems) >= ERRORS_MAX:
                break
            if number > LINES_MAX:
                problems.append(
                    Problem("too_many_lines", f"A batch has at most {LINES_MAX} lines.")
                )
                break
    if not starts and not problems:
        problems.append(Problem("empty_file", "The file has no lines."))
    starts.append(at)
    return Found(starts, model, problems)


def _check(data: bytes, endpoint: str, seen: set[str]) -> tuple[str | None, Problem | None]:
    try:
        line, model = read_line(data)
    except msgspec.ValidationError as cause:
        return None, Problem("invalid_request", f"{cause}.")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, Problem("invalid_json_line", "This line is not valid JSON.")
    if line.method != "POST":
        return None, Problem("invalid_method", "Only POST is done in a batch.", param="method")
    if line.url != endpoint:
        message = f"The batch is for {endpoint}; all its lines must be."
        return None, Problem("mismatched_url", message, param="url")
    if line.custom_id in seen:
        message = "The custom_id of another line; each must be its own."
        return None, Problem("duplicate_custom_id", message, param="custom_id")
    seen.add(line.custom_id)
    return model, None


def show_problems(problems: list[Problem]) -> str:
    """As the API shows them, JSON."""
    return msgspec.json.encode({"object": "list", "data": problems}).decode()


def read_at(path: Path, found: Found, number: int) -> bytes:
    """The bytes of a line, from 1."""
    with path.open("rb") as file:
        file.seek(found.starts[number - 1])
        return file.read(found.starts[number] - found.starts[number - 1])


def result(custom_id: str, *, status: int, request_id: str, body: bytes) -> bytes:
    """The line of an answered request, good or bad."""
    response = {"status_code": status, "request_id": request_id, "body": Raw(body)}
    return _told(custom_id, response, None)


def not_run(custom_id: str, code: str, message: str) -> bytes:
    """The line of a request that was never answered."""
    return _told(custom_id, None, {"code": code, "message": message})


def _told(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    told = {"id": new_id("batch_req"), "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(told)
