"""Room on the disk, looked at before it is needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from haneul.base.errors import CommandError
from haneul.base.units import show_bytes

SPARE_BYTES = 64 << 20  # left free on the disk


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raises CommandError when the disk has not that much free, with a little to spare."""
    free = shutil.disk_usage(folder).free
    if needed_bytes + SPARE_BYTES > free:
        raise CommandError(
            f"The disk is too full: {show_bytes(needed_bytes)} are needed, "
            f"{show_bytes(free)} are free."
        )
