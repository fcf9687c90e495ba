"""Files that a command reads or writes, where - stands for what it is piped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from haneul.base.errors import CommandError
from haneul.models.bundle.create import new_file

PIPE = "-"


@contextmanager
def reading(file: str) -> Iterator[BinaryIO]:
    """The file's bytes. Raises CommandError."""
    if file == PIPE:
        yield sys.stdin.buffer
        return
    try:
        with Path(file).expanduser().open("rb") as source:
            yield source
    except OSError as cause:
        raise CommandError(f"{file} cannot be read: {cause.strerror}.") from cause


@contextmanager
def writing(file: str, *, needed_bytes: int = 0, is_forced: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole. Raises Conflict, CommandError."""
    if file == PIPE:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with new_file(Path(file).expanduser(), needed_bytes=needed_bytes, is_forced=is_forced) as out:
        yield out
