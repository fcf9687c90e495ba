"""What the environment says of the hubs: where they are, with which token, what is cached here.

The variables and their order are those of the hubs' own clients (huggingface_hub 2.4,
modelscope-hub 0.5.1), so that whoever set these up has set up haneul. ModelScope's client keeps a
token it was given at a login in a pickle, which is not read: MODELSCOPE_API_TOKEN is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from msgspec import Struct

from haneul.base.errors import CommandError

HUGGINGFACE = "https://huggingface.co"
MODELSCOPE = "https://modelscope.cn"
YES = ("1", "true", "yes", "on")
TOKEN_MAX_BYTES = 4096


class HubSettings(Struct, frozen=True, kw_only=True):
    """One hub: its address, the headers that open it, whether to ask it, its client's cache."""

    name: str  # as a source is called
    base: str
    credentials: Mapping[str, str] = {}
    is_offline: bool = False
    is_own: bool = False  # configured here: it may be on a private network
    cache: Path | None = None


def huggingface(environ: Mapping[str, str]) -> HubSettings:
    """Hugging Face, or the mirror that HF_ENDPOINT names. Reads the client's token file."""
    base = (environ.get("HF_ENDPOINT") or HUGGINGFACE).rstrip("/")
    home = _path(environ, "HF_HOME") or _below(_cache_home(environ), "huggingface")
    cache = _path(environ, "HF_HUB_CACHE") or _path(environ, "HUGGINGFACE_HUB_CACHE")
    token = _token(environ, home)
    offline = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return HubSettings(
        name="huggingface",
        base=base,
        credentials=bearer(token),
        is_offline=offline.lower() in YES,
        is_own=base != HUGGINGFACE,
        cache=cache or _below(home, "hub"),
    )


def modelscope(environ: Mapping[str, str]) -> HubSettings:
    """ModelScope, or the site that MODELSCOPE_ENDPOINT or MODELSCOPE_DOMAIN names."""
    site = environ.get("MODELSCOPE_ENDPOINT") or environ.get("MODELSCOPE_DOMAIN") or MODELSCOPE
    base = (site if "://" in site else f"https://{site}").rstrip("/")
    token = _clean(environ.get("MODELSCOPE_API_TOKEN", ""))
    cookie = {"Cookie": f"m_session_id={quote(token)}"} if token else {}
    return HubSettings(
        name="modelscope",
        base=base,
        credentials={**bearer(token), **cookie},
        is_own=base != MODELSCOPE,
        cache=_path(environ, "MODELSCOPE_CACHE") or _below(_cache_home(environ), "modelscope"),
    )


def peers(environ: Mapping[str, str]) -> tuple[HubSettings, ...]:
    """The other haneul installations that HANEUL_PEERS names, the preferred one first.

    Addresses such as http://10.0.0.5:8420, separated by commas. HANEUL_PEER_KEY is a key of theirs.
    Raises CommandError for what is no address.
    """
    key = _clean(environ.get("HANEUL_PEER_KEY", ""))
    found = []
    for text in re.split(r"[,\s]+", environ.get("HANEUL_PEERS", "").strip()):
        if text:
            found.append(_peer(text.rstrip("/"), key))
    return tuple(found)


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token; none for none."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def _peer(base: str, key: str) -> HubSettings:
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise CommandError(f"HANEUL_PEERS: '{base}' is not an address such as http://10.0.0.5:8420")
    base = base if parts.path else f"{base}/hub"
    return HubSettings(
        name=f"haneul at {parts.hostname}", base=base, credentials=bearer(key), is_own=True
    )


def _token(environ: Mapping[str, str], home: Path | None) -> str:
    """The token of the environment, else the one that a login left in its file."""
    said = _clean(environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN") or "")
    if said or environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").lower() in YES:
        return said
    path = _path(environ, "HF_TOKEN_PATH") or _below(home, "token")
    try:
        with path.open("rb") if path else open(os.devnull, "rb") as file:
            return _clean(file.read(TOKEN_MAX_BYTES).decode("ascii"))
    except (OSError, UnicodeDecodeError):
        return ""


def _clean(token: str) -> str:
    """The token without what ends a line: a header must be one."""
    return re.sub(r"[\r\n]", "", token).strip()


def _cache_home(environ: Mapping[str, str]) -> Path | None:
    """XDG's cache folder; None where not even a home is known."""
    said = _path(environ, "XDG_CACHE_HOME")
    return said or (Path(environ["HOME"]) / ".cache" if environ.get("HOME") else None)


def _below(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder else None


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    text = re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda m: environ.get(m[1] or m[2], m[0]), text)
    home = environ.get("HOME", "")
    return Path(home + text[1:]) if text.startswith("~/") and home else Path(text)
