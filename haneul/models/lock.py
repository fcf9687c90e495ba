"""One pull of the same bytes at a time, across processes; the kernel frees it for the killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

RETRY_S = 0.2


@asynccontextmanager
async def hold(path: Path, *, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Holds the lock file within the block; on_wait is called while somebody else does.

    The file stays: removing it would let two holders lock two files of one name.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        while not _try(handle):
            on_wait()
            await asyncio.sleep(RETRY_S)
        yield
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
