"""`haneul doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from haneul.base import places
from haneul.base.config import LOOPBACK, Config, load
from haneul.base.errors import HaneulError
from haneul.base.gguf_parts import check_files
from haneul.base.units import show_bytes
from haneul.chips.detect import survey
from haneul.chips.fleet import load as load_fleet
from haneul.cli import local
from haneul.cli.command import command, database, json_option
from haneul.cli.show import console, print_json
from haneul.services.remote import read_key_file
from haneul.store import engines as engine_queries
from haneul.store import models as model_queries

DISK_LEAST_BYTES = 2_000_000_000
OK, WARNING, WRONG = "ok", "warning", "wrong"
MARKS = {OK: "[green]ok[/]", WARNING: "[yellow]warning[/]", WRONG: "[red]wrong[/]"}


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    area: str
    state: str
    said: str
    mend: str = ""


@command("doctor", example="haneul doctor --json")
@json_option
def doctor(as_json: bool) -> None:
    """Looks at this installation: what is wrong, and how to mend it. Exit code 1 if anything is."""
    findings = list(examine())
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    raise SystemExit(1 if any(finding.state == WRONG for finding in findings) else 0)


def examine() -> Iterator[Finding]:
    """Every finding; later looks need the configuration, so a broken one ends it."""
    yield _python()
    yield _engine()
    try:
        settings = load().config
    except HaneulError as error:
        yield Finding("configuration", WRONG, error.message, "mend that file or variable")
        return
    yield Finding("configuration", OK, f"home is {settings.home}")
    for look in (_home, _disk, _chips, _fleet, _models, _engines, _cloud, _network, _path_files):
        yield from _looked(look, settings)


def _looked(look: Callable[[Config], Iterator[Finding]], settings: Config) -> Iterator[Finding]:
    try:
        yield from look(settings)
    except HaneulError as error:
        yield Finding(look.__name__.strip("_"), WRONG, error.message, "see the reason")
    except OSError as error:
        yield Finding(look.__name__.strip("_"), WRONG, str(error), "see the reason")


def _print(findings: list[Finding]) -> None:
    out = console()
    for finding in findings:
        out.print(f"{MARKS[finding.state]:<18} {finding.area:<14} {finding.said}", soft_wrap=True)
        if finding.mend:
            out.print(f"{'':<8} {'':<14} → {finding.mend}", soft_wrap=True)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", OK, f"Python {found}")


def _engine() -> Finding:
    try:
        return Finding("engine", OK, f"xllamacpp {version('xllamacpp')}")
    except PackageNotFoundError:
        return Finding("engine", WRONG, "xllamacpp is not installed", "run 'make up' again")


def _home(settings: Config) -> Iterator[Finding]:
    home = settings.home
    if not home.exists():
        yield Finding("home", WARNING, f"{home} is not there yet", "'haneul up' makes it")
        return
    if not os.access(home, os.W_OK):
        yield Finding("home", WRONG, f"{home} cannot be written", f"chown it to {os.getuid()}")
        return
    places.socket_folder(home)
    for secret in ("pepper", "flights"):
        path = home / secret
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding("home", WRONG, f"{path} is open to others", f"chmod 600 {path}")
    database(settings).close()
    yield Finding("home", OK, "can be written; the database opens")


def _disk(settings: Config) -> Iterator[Finding]:
    place = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    said = f"{show_bytes(free)} free"
    if free < DISK_LEAST_BYTES:
        yield Finding("disk", WARNING, said, "a model may not fit: haneul rm one, or free room")
    else:
        yield Finding("disk", OK, said)


def _chips(settings: Config) -> Iterator[Finding]:
    found = survey()
    for chip in found.chips:
        memory = show_bytes(chip.memory_free_bytes) if chip.memory_free_bytes else "unknown"
        yield Finding("chips", OK, f"{chip.name}, {memory} memory free")
    for trouble in found.troubles:
        said = f"{trouble.tool} did not answer: {trouble.why}"
        yield Finding("chips", WARNING, said, "its chips are not seen until it answers")


def _fleet(settings: Config) -> Iterator[Finding]:
    own = settings.home / "fleet.toml"
    path = Path(settings.fleet).expanduser() if settings.fleet else own
    if path.exists() or settings.fleet:
        load_fleet(path)
        yield Finding("fleet", OK, f"prices from {path}")
    else:
        said = "prices rest on packaged assumptions, not on what this machine cost"
        yield Finding("fleet", WARNING, said, f"write what it cost to {own}; see docs/prices.md")


def _models(settings: Config) -> Iterator[Finding]:
    if not settings.home.exists():
        return
    store = database(settings)
    for row in store.run(model_queries.every):
        try:
            check_files(row.path)
            yield Finding("models", OK, f"{row.name}, {show_bytes(row.bytes)}")
        except (HaneulError, OSError) as error:
            said = f"{row.name}: {error.message if isinstance(error, HaneulError) else error}"
            mend = f"haneul rm {row.name} && haneul pull {row.name}"
            yield Finding("models", WRONG, said, mend)


def _engines(settings: Config) -> Iterator[Finding]:
    if not settings.home.exists():
        return
    for row in database(settings).run(engine_queries.every):
        try:
            read_key_file(row.key_file)
            yield Finding("engines", OK, f"{row.name} at {row.url}")
        except HaneulError as error:
            yield Finding("engines", WRONG, f"{row.name}: {error.message}", "mend the key file")


def _cloud(settings: Config) -> Iterator[Finding]:
    if local.is_running(settings.home):
        status = local.ask(settings.home, "GET", "/haneul/v1/status")
        for model in status["models"]:
            if model["state"] in ("backoff", "failed"):
                said = f"the engine of {model['id']} is in state {model['state']}"
                mend = f"read {places.logs(settings.home)}"
                yield Finding("cloud", WRONG, said, mend)
        yield Finding("cloud", OK, f"running for {status['uptime_s']} s")
    elif _is_taken(settings.host, settings.port):
        said = f"port {settings.port} is taken by something else"
        yield Finding("cloud", WRONG, said, "stop it, or choose another with --port")
    else:
        yield Finding("cloud", WARNING, "not running", "haneul up")


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return port != 0 and probe.connect_ex((host, port)) == 0


def _network(settings: Config) -> Iterator[Finding]:
    if settings.host not in LOOPBACK:
        said = f"listens on {settings.host}: keys travel unencrypted over plain http"
        yield Finding("network", WARNING, said, "put a TLS proxy in front, or use 127.0.0.1")


def _path_files(settings: Config) -> Iterator[Finding]:
    """Files that run code at every start of Python: a way in that has been used before."""
    known = ("distutils-precedence.pth", "_virtualenv.pth")
    for folder in {Path(path) for path in sys.path if path.endswith("site-packages")}:
        for path in folder.glob("*.pth"):
            runs_code = any(line.startswith("import") for line in path.read_text().splitlines())
            if runs_code and path.name not in known and not path.name.startswith("__editable__"):
                said = f"{path} runs code whenever Python starts"
                yield Finding("python", WARNING, said, "make sure you know where it came from")
