"""The libllama that was built on this machine, for its own instruction set."""

from __future__ import annotations

from pathlib import Path

from haneul.base import places
from haneul.services.tune.setup import LIBRARY_FILE

VERSION = "0.3.36"  # of the source distribution llama-cpp-python, whose vendored source is built
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
DONE_FILE = "layout.json"  # written last: a folder without it is half-done


def folder_of(home: Path, chip: str) -> Path:
    """Where the build for a chip lies or would lie."""
    return places.native(home) / f"{VERSION}-{chip}"


def native_folder(home: Path, chip: str) -> Path | None:
    """The folder of a finished build for this chip; None where there is none."""
    folder = folder_of(home, chip)
    is_done = (folder / DONE_FILE).is_file() and (folder / LIBRARY_FILE).is_file()
    return folder if chip and is_done else None
