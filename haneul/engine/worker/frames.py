"""The messages between the front and a worker's process, as length-prefixed msgpack frames."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from haneul.engine.worker.job import Job, Loaded, Step

HEAD_BYTES = 4
FRAME_MAX_BYTES = 64 << 20


class Begin(Struct, frozen=True, tag="begin"):
    number: int
    job: Job


class Cancel(Struct, frozen=True, tag="cancel"):
    number: int


class Ask(Struct, frozen=True, tag="ask"):
    """A small question, answered by Told or Failed with the same number."""

    number: int
    what: str
    value: Any = None


class Unloadable(Struct, frozen=True, tag="unloadable"):
    """The first and last word of a worker that cannot serve its file."""

    reason: str
    is_broken: bool  # the file is: no other kernel need be tried


class Stepped(Struct, frozen=True, tag="stepped"):
    """What one step gave to each job."""

    steps: list[tuple[int, Step]]


class Failed(Struct, frozen=True, tag="failed"):
    """The end of one job or question, by an error of our tree."""

    number: int
    kind: str
    message: str
    facts: dict[str, Any] = {}


class Told(Struct, frozen=True, tag="told"):
    number: int
    value: Any = None


ToWorker = Begin | Cancel | Ask
ToFront = Loaded | Unloadable | Stepped | Failed | Told

to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
to_front: msgspec.msgpack.Decoder[ToFront] = msgspec.msgpack.Decoder(ToFront)


def framed(message: ToWorker | ToFront) -> bytes:
    """One message with its length before it."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(HEAD_BYTES, "little") + data


def length(head: bytes) -> int:
    """How many bytes follow. Raises ValueError for a frame no honest side would send."""
    count = int.from_bytes(head, "little")
    if count > FRAME_MAX_BYTES:
        raise ValueError(f"a frame of {count} bytes")
    return count
