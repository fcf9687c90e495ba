"""From empty caches to the first answer, stage by stage: `python -m bench.first_run`.

Clones this repository's HEAD, installs it with pip's cache off, starts the cloud on an empty home,
waits for the first answer, presses Ctrl-C, starts it once more. Nothing in the product is changed
for it: ports are polled, the screen and the log are read. Needs git, make and Python's standard
library. Exits with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import machine
from bench.report import spread, table
from bench.running import LOOK_S, Running

ROOT = Path(__file__).parent.parent
LIMIT_S = 600.0  # for any one stage
LISTENING, ANSWERED, AGAIN = "gateway listening", "first answer ended", "again: model ready"
# what is held: a stage, from where its seconds count, and how many it may take
PROMISES = (
    (LISTENING, "from `haneul up`", 60.0),
    (ANSWERED, "from the clone, pull and all", 180.0),
    (AGAIN, "from `haneul up`", 5.0),
)


class Stage(NamedTuple):
    """One step: its own seconds, and those since its clock began (the clone's, or a start's)."""

    name: str
    seconds: float
    since_s: float
    note: str = ""


class Run(NamedTuple):
    """All stages of one first run, and what it installed."""

    stages: list[Stage]
    packages: int
    installed_bytes: int

    def since_s(self, name: str) -> float:
        return next(stage.since_s for stage in self.stages if stage.name == name)


def main() -> None:
    """Runs it as often as asked, prints the table or JSON, holds the promises."""
    arguments = _arguments()
    runs = []
    load = machine.facts()
    for number in range(arguments.times):
        print(f"run {number + 1} of {arguments.times} …", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="hn-") as scratch:
            runs.append(first_run(Path(scratch), arguments.model))
    promises = [_held(runs, *promise) for promise in PROMISES]
    if arguments.json:
        print(json.dumps(_facts(load, runs, promises), indent=1))
    else:
        _print(load, runs, promises)
    sys.exit(0 if all(promise["kept"] for promise in promises) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.first_run", description=__doc__)
    parser.add_argument("--times", type=int, default=1, help="how often; medians are shown")
    parser.add_argument("--model", help="instead of the default model")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def first_run(scratch: Path, model: str | None) -> Run:
    """One run in an empty folder."""
    env = _environment(scratch)
    clone = scratch / "haneul"
    began = time.time()
    stages: list[Stage] = []
    for name, folder, command in (
        ("clone", ROOT, ["git", "clone", "--quiet", f"file://{ROOT}", str(clone)]),
        ("venv", clone, ["make", ".venv/bin/python"]),
        ("install", clone, ["make", "install"]),
    ):
        step_began = time.time()
        _do(command, folder, env)
        stages.append(Stage(name, time.time() - step_began, time.time() - began))
    command = [str(clone / ".venv" / "bin" / "haneul")]
    first = _start(command, scratch / "home", clone, env, model)
    with first:
        stages += _first_answer(first, began)
        stages.append(_stopped(first, "Ctrl-C until all is gone"))
    again = _start(command, scratch / "home", clone, env, model)
    with again:
        listening = again.until("/healthz", LIMIT_S) - again.began
        ready = again.until("/readyz", LIMIT_S) - again.began
        stages.append(Stage("again: gateway listening", listening, listening))
        stages.append(Stage(AGAIN, ready - listening, ready))
        stages.append(_stopped(again, "again: Ctrl-C until all is gone"))
    return Run(stages, *_installed(clone / ".venv"))


def _environment(scratch: Path) -> dict[str, str]:
    """Ours, without caches and without haneul's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HANEUL_") and name not in ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS")
    }
    return {**kept, "PIP_NO_CACHE_DIR": "1", "XDG_CACHE_HOME": str(scratch / "cache")}


def _do(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _installed(venv: Path) -> tuple[int, int]:
    """Packages in a virtual environment, and the bytes of all its files."""
    listing = subprocess.run(
        [venv / "bin" / "python", "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        check=True,
    )
    names = {package["name"] for package in json.loads(listing.stdout)} - {"pip", "setuptools"}
    files = [Path(folder) / name for folder, _, names in os.walk(venv) for name in names]
    return len(names), sum(file.lstat().st_size for file in files)


def _start(
    command: list[str], home: Path, clone: Path, env: Mapping[str, str], model: str | None
) -> Running:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    named = {"HANEUL_MODEL": model} if model else {}
    return Running(command, home=home, port=port, folder=clone, env={**env, **named})


def _first_answer(cloud: Running, began: float) -> list[Stage]:
    """The stages of the first start. Each is the time since the moment before it."""
    moments = {LISTENING: cloud.until("/healthz", LIMIT_S)}
    moments["engine loaded"] = cloud.until("/readyz", LIMIT_S)
    while cloud.shown_at(rb"tokens in, \d+ out, ") is None:
        cloud.check(LIMIT_S)
        time.sleep(LOOK_S)
    seen: dict[str, float | None] = {
        "source chosen": cloud.logged_at("pull_started"),
        "model pulled and checked": cloud.logged_at("pulled"),
        "speed measured": cloud.logged_at("measured"),
        "key shown": cloud.shown_at(rb"sk-hn-[0-9A-Za-z]+"),
        "first answer's first token": cloud.shown_at(rb"First question[^\n]*\n\s*\S"),
        ANSWERED: cloud.shown_at(rb"tokens in, \d+ out, "),
    }
    moments |= {name: moment for name, moment in seen.items() if moment is not None}
    stages, before = [], cloud.began
    for name, moment in sorted(moments.items(), key=lambda pair: pair[1]):
        stages.append(Stage(name, moment - before, moment - began, _note(cloud, name)))
        before = moment
    return stages


def _note(cloud: Running, name: str) -> str:
    """What the log adds to a stage."""
    for event in cloud.events():
        if name == "source chosen" and event["event"] == "pull_started":
            return f"{event['model']}, {event['bytes'] / 1e6:.0f} MB from {event['source']}"
        if name == "speed measured" and event["event"] == "measured":
            return f"{event['decode']:.0f} tokens/s for one answer"
    return ""


def _stopped(cloud: Running, name: str) -> Stage:
    seconds = cloud.stop()
    return Stage(name, seconds, seconds)


def _held(runs: list[Run], name: str, origin: str, limit_s: float) -> dict[str, Any]:
    """A promise and the slowest run against it."""
    worst_s = max(run.since_s(name) - (_up_s(run) if name == LISTENING else 0.0) for run in runs)
    return {
        "promise": f"{name} within {limit_s:.0f} s {origin}",
        "slowest_s": worst_s,
        "kept": worst_s <= limit_s,
    }


def _up_s(run: Run) -> float:
    """When `haneul up` began: the gateway listened so long after it."""
    listening = next(stage for stage in run.stages if stage.name == LISTENING)
    return listening.since_s - listening.seconds


def _print(load: dict[str, Any], runs: list[Run], promises: list[dict[str, Any]]) -> None:
    print(machine.line(load))
    rows = []
    for number, stage in enumerate(runs[0].stages):
        seconds = spread([run.stages[number].seconds for run in runs])
        since = spread([run.stages[number].since_s for run in runs])
        rows.append((stage.name, seconds.show(2), since.show(2), stage.note))
    print("\n" + table(("STAGE", ">SECONDS", ">SINCE ITS CLOCK BEGAN", "NOTE"), rows))
    print("\nThe clock begins with the clone, and anew with each Ctrl-C and with the second start.")
    print(f"{runs[0].packages} packages, {runs[0].installed_bytes / 1e6:.0f} MB installed")
    for promise in promises:
        word = "kept  " if promise["kept"] else "BROKEN"
        print(f"{word}  {promise['promise']}: {promise['slowest_s']:.1f} s")


def _facts(load: dict[str, Any], runs: list[Run], promises: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "machine": load,
        "packages": runs[0].packages,
        "installed_bytes": runs[0].installed_bytes,
        "runs": [[stage._asdict() for stage in run.stages] for run in runs],
        "promises": promises,
    }


if __name__ == "__main__":
    main()
