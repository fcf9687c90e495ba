"""The model a plan is about: of the published families, of the catalogue, or a shape that is known.

Whoever asks from a command or a page brings the shapes that only they may read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import HaneulError, ModelNotFound
from haneul.chips.plan.chipfiles import load_models
from haneul.chips.plan.models import NATIVE, plan_model
from haneul.chips.plan.terms import PlanModel
from haneul.chips.shape import Shape
from haneul.models import catalogue
from haneul.models.catalogue import Entry
from haneul.models.reference import HUBS

SAME_SHAPE = re.compile(r"-(instruct|it|chat|\d{4})\b")  # trained further: the shape is as before
PUBLISHED = "measures of its config.json, as published"


class Found(Struct, frozen=True, kw_only=True):
    """A model with what people call it, what an engine loads, and what is said of it."""

    model: PlanModel
    name: str
    repository: str  # "": an engine's line names the model as people do
    said: tuple[str, ...]
    shape: Shape | None = None  # of the file that haneul's own engine would run


def find(text: str, *, shape: Shape | None = None, origin: str = "the file's header") -> Found:
    """The model of a name, or of a shape that somebody read. Raises ModelNotFound.

    A repository of a hub is found by its last name: published families are, whoever copied them.
    """
    known = load_models()
    model = published(text, known)
    if model is not None:
        return _found(model, text, PUBLISHED, repository=repository_of(text) or model.name)
    if shape is not None:
        return from_shape(text, shape, origin=origin)
    found = _listed(text, known)
    if found is not None:
        return found
    raise ModelNotFound(
        f"No model is called {text!r}: name one of the catalogue (haneul models search) or one "
        f"that is here, a config.json, a GGUF file, or one of: {', '.join(names(known))}.",
        param="model",
    )


def from_shape(name: str, shape: Shape, *, origin: str, repository: str = "") -> Found:
    """A model of which somebody read the shape."""
    model = plan_model(name, shape)
    unknown = []
    if not shape.kv_heads:
        unknown.append("how many heads keep keys: all are counted")
    if not shape.context_tokens:
        unknown.append("the context it was trained for")
    found = _found(model, name, origin, repository=repository or name)
    lines = tuple(f"{name} does not say: {each}" for each in unknown)
    return replace(found, said=(*found.said, *lines), shape=shape)


def published(text: str, known: Mapping[str, PlanModel]) -> PlanModel | None:
    """Of the published families, in any case."""
    for name, model in known.items():
        if name.lower() == text.lower():
            return model
    return None


def names(known: Mapping[str, PlanModel]) -> list[str]:
    """What the published families are called, each model once."""
    return sorted({model.name for model in known.values()})


def repository_of(text: str) -> str:
    """The makers' repository of a published name by the catalogue; '' where it lists none."""
    for entry in catalogue.load().entries:
        own = entry.upstream.rpartition("/")[2]
        if text.lower() in (own.lower(), SAME_SHAPE.sub("", own.lower())):
            return entry.upstream
    return ""


def repository_in(text: str) -> str:
    """'org/repo' of a hub's reference, without hub and revision; '' where it names none."""
    for prefix in HUBS:
        if text.startswith(prefix):
            text = text.removeprefix(prefix)
    name = re.split(r"[@:]", text)[0]
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""


def _listed(text: str, known: Mapping[str, PlanModel]) -> Found | None:
    """Of the catalogue, as its makers publish it and under their name; asks nobody.

    What the catalogue has beside a shape is a file for this machine, of fewer bits: an engine for
    accelerators is given the makers' repository.
    """
    try:
        target = catalogue.load().resolve(text)
    except HaneulError:
        target = None
    upstream = target.upstream if isinstance(target, Entry) else repository_in(text)
    own = SAME_SHAPE.sub("", upstream.rpartition("/")[2].lower())
    for name, model in known.items():
        if own and name.lower() == own:
            origin = f"{PUBLISHED} for {model.name}"
            found = _found(replace(model, name=upstream), text, origin, repository=upstream)
            return replace(found, shape=target.shape) if isinstance(target, Entry) else found
    if not isinstance(target, Entry):
        return None
    shape = target.shape
    bits = shape.quantisation if shape.quantisation in NATIVE else "BF16"
    model = plan_model(upstream, replace(shape, quantisation=bits))
    found = _found(model, text, f"the catalogue ({target.dated})", repository=upstream)
    return replace(found, shape=shape)


def _found(model: PlanModel, text: str, origin: str, *, repository: str) -> Found:
    return Found(
        model=model,
        name=model.name if "/" in model.name else text,
        repository=repository,
        said=(_measures(model, origin),),
    )


def _measures(model: PlanModel, origin: str) -> str:
    """Its size in a line."""
    active = ""
    if model.active_parameters < model.parameters:
        active = f", {model.active_parameters / 1e9:,.3g}B of them for a token"
    context = f"{model.context_tokens:,} tokens" if model.context_tokens else "unknown"
    return (
        f"{model.name}: {model.parameters / 1e9:,.3g}B parameters{active}, published as "
        f"{model.native}, context {context}; {origin}"
    )
