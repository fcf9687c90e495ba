"""Why OpenVINO refused, in one line without a path of this machine."""

from __future__ import annotations

import re
from pathlib import Path

MAX_CHARS = 300


def reason(error: Exception, folder: Path) -> str:
    """The last line of its message that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = (lines or ["no reason was given"])[-1].replace(str(folder), "the folder")
    return re.sub(r"(?<![\w.])/[\w.+-]+(?:/[\w.+-]+)+", "…", last)[:MAX_CHARS]
