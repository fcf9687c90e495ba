"""Where things lie in a home."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from haneul.base.errors import CommandError

SOCKET_PATH_MAX = 100  # the kernel takes 107 bytes; a name is yet to be added


def socket_folder(home: Path) -> Path:
    """The folder of the cloud's and the engines' sockets, which only their owner can enter.

    It lies in home, or where home's path is too long for a socket in the temporary folder, under
    a name that every process computes alike. Raises CommandError when somebody else owns it.
    """
    folder = home / "run"
    if len(str(folder)) > SOCKET_PATH_MAX - 50:
        mark = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"haneul-{os.getuid()}-{mark}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise CommandError(f"the folder of sockets {folder} is open to others; remove it")
    return folder


def cloud_socket(home: Path) -> Path:
    """The socket over which commands reach the running cloud."""
    return socket_folder(home) / "cloud.sock"


def logs(home: Path) -> Path:
    """The folder of log files."""
    return home / "logs"


def blobs(home: Path) -> Path:
    """The folder of model files."""
    return home / "models"


def catalogue(home: Path) -> Path:
    """The file of catalogue entries that came with bundles."""
    return home / "catalogue.json"


def keys(home: Path) -> Path:
    """The folder of the key that signs bundles, and of those whose bundles are taken."""
    return home / "keys"


def derived(home: Path) -> Path:
    """The folder of model files that were requantised here."""
    return home / "models" / "derived"


def native(home: Path) -> Path:
    """The folder of kernels that were built on this machine."""
    return home / "native"
