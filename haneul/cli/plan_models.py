"""The model a plan is about: of the published families, a file, here, or of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from haneul.base.config import Config
from haneul.base.errors import BrokenFile, HaneulError, ModelNotFound
from haneul.base.gguf import read_header
from haneul.chips.plan.chipfiles import load_models
from haneul.chips.plan.models import NATIVE, plan_model
from haneul.chips.plan.terms import PlanModel
from haneul.chips.shape import Shape
from haneul.cli.command import database
from haneul.models import catalogue, revisions
from haneul.models.catalogue import Entry
from haneul.models.shapes.config_shape import shape_of_config
from haneul.models.shapes.gguf_shape import shape_of

CONFIG_BYTES_MOST = 1 << 20
SAME_SHAPE = re.compile(r"-(instruct|it|chat|\d{4})\b")  # trained further: the shape is as before


def asked_model(text: str, settings: Config) -> PlanModel:
    """The model of a name, a config.json or a GGUF file. Raises ModelNotFound and BrokenFile."""
    known = load_models()
    for name, model in known.items():
        if name.lower() == text.lower():
            return model
    path = Path(text)
    if path.is_file():
        return plan_model(path.parent.name if path.suffix == ".json" else path.stem, _read(path))
    shape = _kept(text, settings)
    listed = None if shape else _listed(text, known)
    if listed is not None:
        return listed
    if shape is None:
        names = ", ".join(sorted({model.name for model in known.values()}))
        raise ModelNotFound(
            f"No model is called {text!r}: name one of the catalogue or one that is here, a "
            f"config.json, a GGUF file, or one of: {names}."
        )
    return plan_model(text, shape)


def called(text: str, model: PlanModel) -> str:
    """What a person calls the model: an alias stays the alias, a repository is one for engines."""
    if "/" in model.name:
        return model.name
    is_other = text.lower() != model.name.lower() and not Path(text).is_file()
    return text if is_other else model.name


def _read(path: Path) -> Shape:
    if path.suffix != ".json":
        return shape_of(read_header(path))
    with path.open("rb") as file:
        data = file.read(CONFIG_BYTES_MOST + 1)
    if len(data) > CONFIG_BYTES_MOST:
        raise BrokenFile(f"{path.name} is too long for a config.json.")
    try:
        config: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as cause:
        raise BrokenFile(f"{path.name} is no JSON object.") from cause
    return shape_of_config(config)


def _kept(text: str, settings: Config) -> Shape | None:
    """Of a model that is here."""
    if not settings.home.exists():
        return None
    try:
        return revisions.facts(database(settings).run(revisions.resolve, text)).shape
    except HaneulError:
        return None


def _listed(text: str, known: Mapping[str, PlanModel]) -> PlanModel | None:
    """Of the catalogue, as its makers publish it and under their name; asks nobody.

    What the catalogue has beside a shape is a file for this machine, of fewer bits: an engine for
    accelerators is given the makers' repository.
    """
    try:
        target = catalogue.load().resolve(text)
    except HaneulError:
        return None
    if not isinstance(target, Entry):
        return None
    own = SAME_SHAPE.sub("", target.upstream.rpartition("/")[2].lower())
    for name, model in known.items():
        if name.lower() == own:
            return replace(model, name=target.upstream)
    shape = target.shape
    bits = shape.quantisation if shape.quantisation in NATIVE else "BF16"
    return plan_model(target.upstream, replace(shape, quantisation=bits))
