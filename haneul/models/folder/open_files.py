"""Which files processes hold open, as the kernel tells."""

from __future__ import annotations

import re
from pathlib import Path

PROCESSES = Path("/proc")
MAPPED = re.compile(r"^\S+ \S+ \S+ \S+ (\d+)", re.MULTILINE)


def open_files() -> set[int]:
    """The inodes of all files that processes of this user hold open or mapped.

    Only Linux tells; elsewhere nothing is known, and a file that is removed lives on for who has
    it open.
    """
    found: set[int] = set()
    for process in PROCESSES.glob("[0-9]*"):
        try:
            maps = process.joinpath("maps").read_text(errors="replace")
            found.update(int(number) for number in MAPPED.findall(maps))
            found.update(handle.stat().st_ino for handle in process.joinpath("fd").iterdir())
        except OSError:  # it has ended, or is another user's
            continue
    return found - {0}
