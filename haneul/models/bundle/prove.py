"""Whether the files of a bundle's models are what a pull would have let in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from haneul.base.errors import BadRequest, BrokenFile
from haneul.models.bundle.contents import Model
from haneul.models.folder.accept import Accepted, accept


def prove(model: Model, path_of: Callable[[str], Path]) -> Accepted:
    """What was read of the files; path_of finds one by its digest. Raises BrokenFile."""
    try:
        found = accept(model.manifest.files, path_of, _no_change)
    except (BadRequest, BrokenFile) as cause:
        raise BrokenFile(f"{model.name}: {cause.message}") from cause
    if (found.manifest, found.digest) != (model.manifest, model.digest):
        raise BrokenFile(f"{model.name} is not what the bundle says of it.")
    return found


def _no_change(data: bytes) -> NoReturn:
    raise BrokenFile("Its config.json would make a loader import code; it is not taken.")
