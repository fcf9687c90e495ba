"""One at a time, across processes: locks on files, which the kernel frees for the killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

RETRY_S = 0.2


@asynccontextmanager
async def hold(
    path: Path, *, on_wait: Callable[[], None] | None = None, is_kept: bool = True
) -> AsyncIterator[None]:
    """Holds the lock file within the block; on_wait is called while somebody else does.

    A file that is not kept is removed in the end, by who holds it: whoever waited for it sees that
    the name is another file's by then, and locks that.
    """
    while (handle := take(path)) is None:
        if on_wait is not None:
            on_wait()
        await asyncio.sleep(RETRY_S)
    try:
        yield
    finally:
        if not is_kept:
            _remove(path)
        os.close(handle)


@contextmanager
def hold_at_once(path: Path) -> Iterator[bool]:
    """Holds the lock file within the block, or gives False where somebody else does."""
    handle = take(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def take(path: Path, *, is_shared: bool = False) -> int | None:
    """A handle that holds the lock until it is closed; None while somebody else holds it."""
    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            if _is_named(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _is_named(handle: int, path: Path) -> bool:
    """Whether the file that is open is still the one of that name."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)
