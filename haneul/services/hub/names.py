"""What a model is called as a repository: `organisation/name`, as clients of hubs want it.

    qwen3:0.6b                  haneul/qwen3-0.6b
    my-finetune                 haneul/my-finetune
    acme/support-8b             acme/support-8b
    hf:org/repo                 org/repo
    hf:org/repo:Q4_K_M          org/repo-Q4_K_M
    modelscope:org/repo@v2      org/repo-v2

Where two models would have one name, the later in the alphabet gets eight digits of its own name's
digest behind it; `org/repo` alone also finds the one model that was pulled from there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from haneul.base.errors import HaneulError
from haneul.models.reference import parse

OWN = "haneul"  # the organisation of what has none
PART_MAX = 96  # characters, as the clients' own check
PART = r"\w+(?:[.-]\w+)*"
PART_PATTERN = r"^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$"  # the same, as a description has it
ID = re.compile(f"{PART}/{PART}", re.ASCII)
NAMES_MAX = 4096  # remembered: every request of the hub asks for all of them
HUBS = ("huggingface", "modelscope")


def is_id(text: str) -> bool:
    """Whether the clients of hubs take it as the id of a repository."""
    fits = all(len(part) <= PART_MAX for part in text.split("/"))
    return fits and ID.fullmatch(text) is not None and not text.endswith(".git")


@lru_cache(maxsize=NAMES_MAX)
def id_of(model: str) -> str:
    """The repository that a model is, where no other has that name."""
    found = _pulled(model)
    if found is not None:
        organisation, name = found
    elif is_id(model):
        return model
    else:
        organisation, name = OWN, model
    return f"{_slug(organisation)}/{_slug(name)}"


def ids(models: Iterable[str]) -> dict[str, str]:
    """Every repository, and the model that it is."""
    found: dict[str, str] = {}
    for model in sorted(models):
        name = id_of(model)
        if name in found:
            name = f"{name[: 2 * PART_MAX - 20]}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        found[name] = model
    return found


def find(models: Iterable[str], repository: str) -> str | None:
    """The model that a repository is; None for none, or for several from one place."""
    every = list(models)
    known = ids(every)
    if repository in known:
        return known[repository]
    alike = [model for model in every if _place(model) == repository]
    return alike[0] if len(alike) == 1 else None


def model_of(repository: str, models: Iterable[str], names: Iterable[str]) -> str:
    """The name that a new model gets which somebody puts under a repository.

    One that is here keeps its name; one that the catalogue has (`names`) gets that; of our own
    organisation the rest is its name, of any other the whole.
    """
    here = ids(models)
    if repository in here:
        return here[repository]
    for name in names:
        if id_of(name) == repository:
            return name
    return repository.removeprefix(f"{OWN}/")


def _pulled(model: str) -> tuple[str, str] | None:
    """Organisation and name of what was pulled from a hub, with the choice that was made there."""
    try:
        reference = parse(model)
    except HaneulError:
        return None
    if reference.kind not in HUBS or is_id(model):
        return None
    organisation, _, name = reference.name.partition("/")
    choice = reference.file.removesuffix(".gguf") or reference.quant
    return organisation, "-".join(filter(None, (name, reference.revision, choice)))


@lru_cache(maxsize=NAMES_MAX)
def _place(model: str) -> str:
    try:
        reference = parse(model)
    except HaneulError:
        return ""
    return reference.name if reference.kind in HUBS else ""


def _slug(text: str) -> str:
    """One part of an id, of the characters that all clients take."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", text)
    plain = re.sub(r"[.-]{2,}", "-", plain).strip("-.").removesuffix(".git")
    plain = plain[:PART_MAX].rstrip("-.")
    return plain or hashlib.sha256(text.encode()).hexdigest()[:12]
