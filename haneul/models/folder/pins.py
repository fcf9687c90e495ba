"""What a pull relies on before anything else refers to it, told to whoever collects garbage.

A pull keeps a file of digests under a lock, which the kernel frees when the process ends, however
it ends. Digests are noted under a shared lock that collecting takes for itself: what is noted
before is spared, and what was collected before is found missing, and fetched again.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from haneul.base.errors import CommandError
from haneul.models.folder.lock import hold_at_once, take
from haneul.models.pulling.threads import to_end

COLLECTING = "collect.lock"
WAIT_S, RETRY_S = 60.0, 0.05


class Pins:
    """The digests of one pull; use it as an async context manager."""

    def __init__(self, locks: Path) -> None:
        self._locks = locks
        self._path = locks / f"{os.getpid()}-{secrets.token_hex(6)}.pin"
        self._handle: int | None = None

    async def __aenter__(self) -> Self:
        await to_end(self._open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def _open(self) -> None:
        with _held(self._locks, is_shared=True):
            self._handle = take(self._path)

    def add(self, digests: Iterable[str]) -> None:
        """Notes what is relied on, or about to be. Touches the disk, and may wait."""
        assert self._handle is not None, "Pins are used within 'async with'"
        lines = "".join(f"{digest}\n" for digest in digests)
        with _held(self._locks, is_shared=True):
            os.write(self._handle, lines.encode())


@contextmanager
def pinned(locks: Path, digests: Iterable[str]) -> Iterator[None]:
    """Relies on the digests within the block; for a command, which has no event loop."""
    pins = Pins(locks)
    pins._open()
    try:
        pins.add(digests)
        yield
    finally:
        pins._close()


@contextmanager
def collecting(locks: Path) -> Iterator[set[str]]:
    """Within the block nothing new is relied on; gives what is already.

    Raises CommandError when somebody else collects for long.
    """
    with _held(locks, is_shared=False):
        found: set[str] = set()
        for path in locks.glob("*.pin"):
            with hold_at_once(path) as is_free:
                if is_free:  # its process has ended without a word
                    path.unlink(missing_ok=True)
                else:
                    found.update(path.read_text().split())
        yield found


@contextmanager
def _held(locks: Path, *, is_shared: bool) -> Iterator[None]:
    handle = _patiently(lambda: take(locks / COLLECTING, is_shared=is_shared))
    try:
        yield
    finally:
        os.close(handle)


def _patiently(step: Callable[[], int | None]) -> int:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        handle = step()
        if handle is not None:
            return handle
        time.sleep(RETRY_S)
    raise CommandError("The model folder is being cleared up by another process for a minute.")
