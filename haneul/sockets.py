"""Listening sockets: the public port's, one for each worker, and those inside the home."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from haneul.base.errors import CommandError

BACKLOG = 1024


def public(host: str, port: int, *, workers: int = 1) -> list[socket.socket]:
    """A listening socket for each worker, all on one port. Raises CommandError.

    Where the system spreads connections over sockets (Linux), each worker has its own; else they
    share one. The first bind is without sharing, so that a port that is taken is never joined.
    """
    first = _bound(host, port, is_shared=False)
    if workers == 1:
        return [first]
    if not sys.platform.startswith("linux"):
        return [first, *(first.dup() for _ in range(workers - 1))]
    port = first.getsockname()[1]
    first.close()
    return [_bound(host, port, is_shared=True) for _ in range(workers)]


def _bound(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host.strip("[]"), port), family=family, backlog=BACKLOG, reuse_port=is_shared
        )
    except OSError as cause:
        raise CommandError(
            f"port {port} on {host} cannot be listened on ({cause.strerror}); choose another "
            "with --port"
        ) from cause


def own(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner can open."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    os.chmod(path, 0o600)
    made.listen(BACKLOG)
    return made
