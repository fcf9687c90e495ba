"""Which files of a repository are taken: weights that cannot run code, and what describes them.

GGUF files one at a time (a split one with all its parts), safetensors as a whole repository. A
pickle may run anything when it is read and code is code, so neither is taken, and both are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.manifest import FILES_MAX, PATH, Format
from haneul.models.reference import QUANT, Reference
from haneul.models.sources.offer import LeftOut, Listed

SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.(gguf|safetensors)$", re.IGNORECASE)
PREFERRED_QUANT = "Q4_K_M"  # what others also take when nothing is said
SAFETENSORS = "SAFETENSORS"  # in a quantisation's place: the repository's weights as they are
SHOWN_MAX = 12

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill")
CODE = (
    *(".py", ".pyc", ".pyd", ".ipynb", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".ps1"),
    *(".js", ".mjs", ".wasm", ".jar", ".whl", ".egg", ".c", ".cc", ".cpp", ".cu", ".rs", ".go"),
)
# Read as data by every tokenizer and converter; a text is never run.
KEPT = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".spm", ".vocab")
PAPERS = re.compile(r"(readme|licen[cs]e|notice|usage|use_policy)[^/]*", re.IGNORECASE)
# Folders that belong to the weights: chat templates by name, and the layers that an embedding
# model of sentence-transformers adds (its modules.json names them so).
FOLDERS = re.compile(r"(additional_chat_templates|\d_[A-Za-z]{1,40})/[^/]+")
# The same weights for other tools, often beside the others.
OTHERS = re.compile(r"(consolidated|original)[^/]*\.safetensors")
INDEX = ".safetensors.index.json"


class Choice(Struct, frozen=True, kw_only=True):
    """What is taken of a repository, the weights first, and what is left out on purpose."""

    format: Format
    files: tuple[Listed, ...]
    left_out: tuple[LeftOut, ...] = ()


def choose(files: Sequence[Listed], reference: Reference) -> Choice:
    """What the reference means. Raises BadRequest naming what there is, FetchFailed for nothing."""
    if len(files) > FILES_MAX * 10:
        raise FetchFailed(f"{reference.name} lists {len(files)} files, which is no model.")
    left_out = tuple(_left_out(files))
    unsafe = {entry.path for entry in left_out}
    safe = [file for file in files if file.path not in unsafe]
    models = [file for file in safe if is_model(file.path)]
    tensors = [file for file in safe if file.path.lower().endswith(".safetensors")]
    wants_tensors = reference.quant == SAFETENSORS or not (models or reference.file)
    if (wants_tensors and not tensors) or not (models or tensors):
        raise FetchFailed(_nothing(reference, left_out))
    if wants_tensors and reference.quant in ("", SAFETENSORS):
        return _tensors(safe, left_out)
    if not models:
        raise BadRequest(
            f"{reference.name} has no GGUF files but safetensors; "
            f"these can be pulled as {reference.name}:safetensors and converted.",
            param="model",
        )
    found = _matching(models, reference)
    if not found:
        raise BadRequest(
            f"{reference.name} has no such file; it has: {_shown(models)}.", param="model"
        )
    best = min(found, key=lambda file: (len(file.path), file.path))
    return Choice(format="gguf", files=_whole(best, models), left_out=left_out)


def parts_of(path: str) -> tuple[str, ...]:
    """The names of all parts of a split file, in order; of any other file its own."""
    split = SPLIT.search(path)
    if split is None:
        return (path,)
    stem, count, suffix = path[: split.start()], int(split[2]), path[split.end(2) :]
    return tuple(f"{stem}-{n:05d}-of-{count:05d}{suffix}" for n in range(1, count + 1))


def _left_out(files: Iterable[Listed]) -> Iterable[LeftOut]:
    for file in files:
        name = file.path.lower()
        if name.endswith(PICKLES):
            yield LeftOut(file.path, "a pickle can run code when it is read")
        elif name.endswith(CODE):
            yield LeftOut(file.path, "code of a model's repository is never taken")
        elif name.endswith((".gguf", ".safetensors", *KEPT)) and not _is_nameable(file.path):
            yield LeftOut(file.path, "its name is not one that a revision may hold")


def _is_nameable(path: str) -> bool:
    is_up = any(not step.strip(". ") for step in path.split("/"))
    return PATH.fullmatch(path) is not None and not is_up


def _nothing(reference: Reference, left_out: Sequence[LeftOut]) -> str:
    pickles = [entry.path for entry in left_out if entry.path.lower().endswith(PICKLES)]
    if not pickles:
        return f"{reference.name} has neither GGUF files nor safetensors."
    return (
        f"{reference.name} has its weights as pickles only ({_listing(pickles)}), which can run "
        "code when they are read; none is taken. Look for its GGUF files or safetensors."
    )


def _tensors(safe: Sequence[Listed], left_out: tuple[LeftOut, ...]) -> Choice:
    """The weights of the repository itself, and whatever describes them."""
    here = {file.path: file for file in safe}
    weights = _weights(here)
    described = [
        file
        for file in safe
        if file.path not in weights and _describes(file.path) and file.path not in _foreign(here)
    ]
    format: Format = "safetensors"
    if "adapter_config.json" in here and not _has_base(here):
        format = "adapter"
    files = (*(here[path] for path in weights), *sorted(described, key=lambda file: file.path))
    return Choice(format=format, files=files, left_out=left_out)


def _weights(here: dict[str, Listed]) -> list[str]:
    """The safetensors that belong together: of one name where there are several of a kind."""
    top = sorted(path for path in here if path.endswith(".safetensors") and "/" not in path)
    named = [path for path in top if re.match(r"(model|adapter_model)(-\d|\.safetensors)", path)]
    chosen = named or [path for path in top if not OTHERS.fullmatch(path)] or top
    if "model.safetensors" in chosen and len(chosen) > 1 and f"model{INDEX}" not in here:
        chosen = [path for path in chosen if not path.startswith("model-")]
    elif f"model{INDEX}" in here and any(path.startswith("model-") for path in chosen):
        chosen = [path for path in chosen if path != "model.safetensors"]
    for path in list(chosen):
        missing = [part for part in parts_of(path) if part not in here]
        if missing:
            raise FetchFailed(f"The repository lacks {_listing(missing)}, a part of its weights.")
    layers = [path for path in here if path.endswith(".safetensors") and FOLDERS.fullmatch(path)]
    if not (chosen or layers):
        deeper = sorted({path.partition("/")[0] for path in here if path.endswith(".safetensors")})
        raise FetchFailed(
            f"The repository has its weights in folders only ({_listing(deeper)}), as models of "
            "pictures do; that is not taken apart here."
        )
    return [*chosen, *sorted(layers)]


def _has_base(here: dict[str, Listed]) -> bool:
    return any(path.startswith("model") and path.endswith(".safetensors") for path in here)


def _describes(path: str) -> bool:
    if "/" in path and not FOLDERS.fullmatch(path):
        return False
    name = path.rpartition("/")[2]
    return name.lower().endswith(KEPT) or PAPERS.fullmatch(name) is not None


def _foreign(here: dict[str, Listed]) -> set[str]:
    """Indexes of weights that are not taken."""
    return {
        path
        for path in here
        if path.endswith(".index.json") and path not in (f"model{INDEX}", f"adapter_model{INDEX}")
    }


def is_model(path: str) -> bool:
    """Whether a GGUF file is a language model by its name, not a part or aid of one."""
    name = path.rpartition("/")[2].lower()
    return name.endswith(".gguf") and not name.startswith(("mmproj", "imatrix"))


def _whole(best: Listed, models: Sequence[Listed]) -> tuple[Listed, ...]:
    """The file, or every part of a split one. Raises FetchFailed for one that lacks a part."""
    there = {file.path: file for file in models}
    names = parts_of(best.path)
    missing = [name for name in names if name not in there]
    if missing:
        raise FetchFailed(f"The repository lacks {_listing(missing)}, a part of the model.")
    return tuple(there[name] for name in names)


def _matching(models: Sequence[Listed], reference: Reference) -> list[Listed]:
    if reference.file:
        exact = [file for file in models if file.path == reference.file]
        return exact or [file for file in models if file.path.lower() == reference.file.lower()]
    if reference.quant:
        return _tagged(models, reference.quant)
    wholes = {parts_of(file.path)[0] for file in models}
    return list(models) if len(wholes) == 1 else _tagged(models, PREFERRED_QUANT)


def _tagged(models: Sequence[Listed], quant: str) -> list[Listed]:
    """Files whose name has the tag between marks: Q4_K does not find Q4_K_M."""
    tag = re.compile(rf"(^|[-./]){re.escape(quant)}([-./])", re.IGNORECASE)
    return [file for file in models if tag.search(file.path)]


def quantisation(path: str) -> str:
    """The tag in a file's name, such as Q4_K_M; "" where it has none."""
    whole = SPLIT.sub(".gguf", path)
    stem = re.split(r"[-./]", whole.rpartition("/")[2].upper().removesuffix(".GGUF"))[-1]
    is_tag = QUANT.fullmatch(stem) and re.match(r"(I?Q|TQ|F|BF|MXFP)\d", stem)
    return stem if is_tag else ""


def _shown(models: Sequence[Listed]) -> str:
    """Their quantisations where the names tell them, else their names."""
    names = {quantisation(file.path) or SPLIT.sub(".gguf", file.path) for file in models}
    return _listing(sorted(names))


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(names[:SHOWN_MAX]) + more
