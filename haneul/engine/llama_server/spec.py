"""What the front tells a llama-server process: apart, so that the front loads no native code."""

from __future__ import annotations

from msgspec import Struct


class Spec(Struct, frozen=True, kw_only=True):
    """What one llama-server is to load, and where it listens."""

    file: str
    socket: str
    parent: int  # process id
    context_tokens: int  # of one sequence
    slots: int
    threads: int
    batch_tokens: int
    pooling: str = ""  # of a server of vectors: mean, cls, last or rank; empty: it writes text
