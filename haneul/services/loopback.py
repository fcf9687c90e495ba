"""Who may be asked for at a cloud that only this machine reaches."""

from __future__ import annotations

from functools import lru_cache

from haneul.base.config import LOOPBACK
from haneul.base.errors import NotAllowed


@lru_cache(maxsize=64)
def check_loopback(header: bytes) -> None:
    """Raises NotAllowed for a host's name that leads elsewhere: it is DNS rebinding."""
    host = header.decode("latin-1").lower()
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name not in LOOPBACK:
        raise NotAllowed("This cloud answers to loopback names only.")
