"""One frozen configuration: default < system < user < project file < environment < flag.

Files are TOML, strict: an unknown name or a value out of range is refused with its file. The
environment variable of a field is HANEUL_ and its name in capitals.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import CommandError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})  # hosts only this machine reaches
STEP = "(thinking|model|queue|batch)"
LADDER = f"^(refuse|{STEP}(,{STEP})*)$"
Ladder = Annotated[str, Meta(pattern=LADDER)]
Level = Literal["debug", "info", "warning", "error"]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting with its unit and range. Zero means 'choose for this machine' where said."""

    home: Path = Path("~/.haneul")  # models, database, keys; one running cloud per home
    host: str = "127.0.0.1"  # the address to listen on
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8420  # 0: any free port
    model: str = "smollm2:135m"  # served from the start; a name, a reference or a GGUF file
    database_url: str = ""  # "": SQLite in home; postgresql://… for PostgreSQL
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "USD"  # of prices and budgets
    first_budget: str = "5"  # of the first key, in the currency
    fleet: str = ""  # the file of what machines cost; "": the defaults, or home/fleet.toml

    workers: Annotated[int, Meta(ge=1, le=64)] = 1  # processes that answer on the port

    slots: Annotated[int, Meta(ge=0, le=64)] = 0  # answers at a time; 0: by memory, up to 16
    context_tokens: Annotated[int, Meta(ge=0, le=1_048_576)] = 0  # per sequence; 0: up to 4,096
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0  # of one engine; 0: chosen by measuring
    keep_alive_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 0  # of an idle engine; 0: for ever
    memory_max_bytes: Annotated[int, Meta(ge=0, le=1 << 50)] = 0  # of all engines; 0: what is free
    tune: bool = True  # each new model is measured for its best setup, at a quiet moment

    queue_max: Annotated[int, Meta(ge=0, le=10_000)] = 64  # requests waiting for one engine
    in_flight_max: Annotated[int, Meta(ge=1, le=4096)] = 512  # requests in the whole gateway
    connections_max: Annotated[int, Meta(ge=16, le=65_536)] = 4096  # the idlest makes room
    body_max_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 32 << 20  # of a request
    body_s: Seconds = 30  # for a request's body to arrive whole
    bodies_max: Annotated[int, Meta(ge=4, le=65_536)] = 256  # on their way in; a key: a quarter
    bodies_max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30  # of all of these
    queue_s: Seconds = 120  # in the queue of an engine
    spill_wait_s: Annotated[float, Meta(ge=0, le=86_400)] = 5  # in it, before a remote is asked
    scarcity: Ladder = "thinking,model,queue,batch"  # tried in turn when all is busy; or refuse
    scarcity_thinking_tokens: Annotated[int, Meta(ge=1, le=1 << 24)] = 1024  # of an answer, then
    leader_wait_s: Seconds = 20  # for one that begins alike, at engines that share prefixes
    first_token_s: Seconds = 300  # from the engine's start to its first byte
    answer_s: Seconds = 1800  # from the engine's start to the end of an answer that is not streamed
    idle_s: Seconds = 60  # between two chunks, from the engine or to the client
    drain_s: Seconds = 10  # for running requests when the cloud is told to stop

    responses_days: Annotated[int, Meta(ge=1, le=3650)] = 30  # kept after its last use
    responses_max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 256 << 20  # kept for a key

    cache_max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 256 << 20  # of kept answers
    cache_age_s: Annotated[float, Meta(gt=0, le=31 * 86_400)] = 86_400  # the oldest that is given

    files_days: Annotated[int, Meta(ge=1, le=3650)] = 30  # files live, and batches once ended
    file_max_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 64 << 20  # of one file
    files_max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30  # of all of a key
    batch_at_once: Annotated[int, Meta(ge=1, le=256)] = 4  # lines of batches, where there is room
    batch_price_share: Annotated[float, Meta(ge=0, le=1)] = 0.5  # of the price, for batches

    audit_days: Annotated[int, Meta(ge=90, le=36_525)] = 3650  # who changed what is kept so long

    log_level: Level = "info"  # the least that is logged
    log_requests: bool = False  # a line for each request that ended
    metrics_vllm: bool = False  # /metrics has vLLM's names too, for dashboards made for it


class Loaded(Struct, frozen=True):
    """A configuration and, for each field, where its value came from."""

    config: Config
    origin: dict[str, str]


def config_files(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    """The files read, weakest first, with the name of their level."""
    user = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [
        ("system", Path("/etc/haneul/haneul.toml")),
        ("user", user / "haneul" / "haneul.toml"),
        ("project", Path("haneul.toml")),
    ]


def load(flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Reads every level; flags that are None count as not given. Raises CommandError."""
    values: dict[str, Any] = {}
    origin = dict.fromkeys(Config.__struct_fields__, "default")
    for level, found in _levels(flags or {}, environ):
        known = {name: value for name, value in found.items() if value is not None}
        try:
            _convert(known, strict=level not in ("environment", "flag"))
        except msgspec.ValidationError as cause:
            raise CommandError(f"configuration ({level}): {cause}") from cause
        values |= known
        origin |= dict.fromkeys(known, level)
    config = _convert(values, strict=False)
    home = config.home.expanduser().absolute()
    return Loaded(msgspec.structs.replace(config, home=home), origin)


def _convert(values: dict[str, Any], *, strict: bool) -> Config:
    return msgspec.convert(values, Config, strict=strict, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    """The one kind of setting that msgspec does not know: a path is a text."""
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def _levels(
    flags: Mapping[str, Any], environ: Mapping[str, str]
) -> list[tuple[str, dict[str, Any]]]:
    levels = [(f"{level}: {path}", _read(path)) for level, path in config_files(environ)]
    from_environ = {
        name: environ[f"HANEUL_{name.upper()}"]
        for name in Config.__struct_fields__
        if environ.get(f"HANEUL_{name.upper()}")
    }
    return [*levels, ("environment", from_environ), ("flag", dict(flags))]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as cause:
        raise CommandError(f"{path} cannot be read: {cause}") from cause
