"""The model a plan is about: of the published families, a file, here, of the catalogue or a hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from haneul.base.config import Config
from haneul.base.errors import BrokenFile, ModelNotFound
from haneul.base.gguf import read_header
from haneul.chips.plan.chipfiles import load_models
from haneul.chips.shape import Shape
from haneul.models.shapes.config_shape import shape_of_config
from haneul.models.shapes.gguf_shape import shape_of
from haneul.services.planning.named import Found, find, from_shape, published, repository_in

CONFIG_BYTES_MOST = 1 << 20


def asked_model(text: str, settings: Config) -> Found:
    """The model of a name, a config.json, a GGUF file, or a repository of a hub.

    Only a repository that nobody here knows is asked for, and its header alone. Raises
    ModelNotFound, BrokenFile and FetchFailed.
    """
    path = Path(text)
    if path.is_dir() and (path / "config.json").is_file():
        path = path / "config.json"
    if path.is_file():
        return _of_file(path)
    shape = None
    if published(text, load_models()) is None and settings.home.exists():
        # Loaded only here, as below: the store costs a plan's start a third.
        shape = import_module("haneul.cli.plan_kept").shape_of_kept(text, settings)
    try:
        return find(text, shape=shape, origin="its file, which is here")
    except ModelNotFound:
        repository = repository_in(text)
        if not repository:
            raise
        # Loaded only here: what fetches costs a plan's start a third.
        shape, origin = import_module("haneul.cli.plan_hub").ask(text)
        return from_shape(repository, shape, origin=origin)


def _of_file(path: Path) -> Found:
    """A file by what its header says; an engine loads the file, or the folder of a config.json."""
    if path.suffix == ".json":
        shape = _read_config(path)
        folder = path.absolute().parent
        return from_shape(folder.name, shape, origin=path.name, repository=str(path.parent))
    return from_shape(
        path.stem, shape_of(read_header(path)), origin=path.name, repository=str(path)
    )


def _read_config(path: Path) -> Shape:
    with path.open("rb") as file:
        data = file.read(CONFIG_BYTES_MOST + 1)
    if len(data) > CONFIG_BYTES_MOST:
        raise BrokenFile(f"{path.name} is too long for a config.json.")
    try:
        config: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as cause:
        raise BrokenFile(f"{path.name} is no JSON object.") from cause
    return shape_of_config(config)
