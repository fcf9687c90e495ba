"""Whether a request costs more than it did: `python -m bench.gate`, a part of `make check`.

Two figures are held to those of bench/gate.json, with 15 % of room. Python calls per request, whole
and streamed, which are much the same on every machine. And processor time per request over that of
nginx before the same mock in the same run, which is compared where the processor is of the kind it
was noted on; the least of several windows counts, because neighbours only ever add. --note writes
both down anew.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import client, cloud, isolated, machine, peers, processes
from bench.upstream import MODEL
from haneul.services.tune.processes import Clock

NOTED = Path(__file__).parent / "gate.json"
ROOM = 1.15
MERGED = 1.15  # more for streamed calls: how many events come in one read is the machine's
WINDOWS, WINDOW_S, TRIES = 5, 0.6, 3
ATTEMPTS = 3  # with processes begun anew: where their memory lies is worth some percent
OTHERS_MAX = 0.1  # of the processors
KINDS = ("whole", "streamed")
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("--note", action="store_true", help="write the figures down as they are")
    options = parser.parse_args()
    noted = json.loads(NOTED.read_text()) if NOTED.exists() else {"ratios": {}}
    with tempfile.TemporaryDirectory(prefix="hn-") as scratch, ExitStack() as stack:
        mock_pid, mock_port = stack.enter_context(cloud.upstream())
        processes.pin([mock_pid], isolated.cores().others)
        calls = _calls(Path(scratch) / "counting", mock_port)
        if options.note:
            kind = _kind()
            noted["calls"] = calls
            noted["ratios"][kind] = _ratios(stack, Path(scratch), mock_port, {})
            NOTED.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n")
            print(f"noted: {calls} calls, {noted['ratios'][kind]} × nginx")
            return
        grown = _grown("calls", calls, noted["calls"])
        if (before := noted["ratios"].get(_kind())) is None:
            print(f"cost of a request: not compared with nginx, nothing is noted for {_kind()}")
        else:
            try:
                for attempt in range(ATTEMPTS):
                    with ExitStack() as running:
                        place = Path(scratch) / f"attempt-{attempt}"
                        place.mkdir()
                        ratios = _ratios(running, place, mock_port, before)
                    if not (more := _grown("× nginx", ratios, before)):
                        break
                grown += more
            except RuntimeError as error:
                print(f"cost of a request: not compared with nginx: {error}")
    if grown:
        sys.exit("a request costs more than it did: " + "; ".join(grown))


def _grown(what: str, found: Figures, noted: Figures) -> list[str]:
    shown = ", ".join(f"{kind} {found[kind]:.1f} ({noted[kind]:.1f})" for kind in KINDS)
    print(f"cost of a request, {what} (as noted): {shown}")
    return [
        f"{kind} {found[kind]:.1f} {what}, noted {noted[kind]:.1f}"
        for kind in KINDS
        if found[kind] > noted[kind] * ROOM * (MERGED if what == "calls" and kind != "whole" else 1)
    ]


def _kind() -> str:
    """The processor and the Python, which decide how Python compares with C."""
    return f"{machine.facts()['cpu']}, Python {platform.python_version()}"


# what is counted
def _calls(home: Path, mock_port: int) -> Figures:
    """Python calls per request, one after another over one connection."""
    found = {}
    with serving(home, mock_port, "--calls") as (process, target):
        for kind in KINDS:
            _load(target, f"mock/{MODEL}", kind, connections=1, seconds=0.2)
            before = _count(process)
            done = _load(target, f"mock/{MODEL}", kind, connections=1, seconds=WINDOW_S)
            found[kind] = round((_count(process) - before) / done["requests"], 1)
    return found


def _count(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    process.send_signal(signal.SIGUSR1)
    return int(process.stdout.readline())


# what is timed
def _ratios(stack: ExitStack, scratch: Path, mock_port: int, noted: Figures) -> Figures:
    """Processor time per request over nginx's, by windows that stand side by side: the median.

    Where that seems too much, more windows are taken.

    Raises RuntimeError where nginx cannot be had or others do not let it be measured.
    """
    nginx = stack.enter_context(
        peers.start(peers.PEERS[0], peers.install(peers.PEERS[0]), mock_port, scratch)
    )
    process, target = stack.enter_context(serving(scratch / "timed", mock_port))
    sides = [
        ([process.pid], target, f"mock/{MODEL}"),
        (processes.tree(nginx.pid), {"port": nginx.port}, MODEL),
    ]
    where = isolated.cores()
    for pids, _, _ in sides:
        processes.pin(pids, where.gateway)
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    found: Figures = {}
    for _ in range(TRIES * WINDOWS):
        clock = Clock()
        costs = {kind: [_window(*side, kind) for side in sides] for kind in KINDS}
        if clock.others_share() > OTHERS_MAX:
            continue
        for kind in KINDS:
            ours, theirs = costs[kind]
            ratios[kind].append(ours / theirs)
            found[kind] = round(statistics.median(ratios[kind]), 2)
        is_well = all(found[kind] <= noted.get(kind, 0.0) * ROOM for kind in KINDS)
        if len(ratios["whole"]) >= WINDOWS and is_well:
            break
    if len(ratios["whole"]) < WINDOWS:
        raise RuntimeError(f"others use more than {OTHERS_MAX:.0%} of the processors")
    return found


def _window(pids: list[int], to: dict[str, Any], model: str, kind: str) -> float:
    """Processor seconds per request of one short time of load."""
    before = processes.exact_cpu_s(pids)
    done = _load(to, model, kind, connections=isolated.CONNECTIONS, seconds=WINDOW_S)
    return (processes.exact_cpu_s(pids) - before) / done["requests"]


def _load(
    to: dict[str, Any], model: str, kind: str, *, connections: int, seconds: float
) -> dict[str, Any]:
    return client.run(
        {
            "work": "saturate",
            "cores": sorted(isolated.cores().others),
            "target": {**to, "body": cloud.chat(model, stream=kind == "streamed")},
            "connections": connections,
            "seconds": seconds,
        }
    )


@contextmanager
def serving(
    home: Path, mock_port: int, *flags: str
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """The cloud's process, and where client.Target finds it."""
    command = [sys.executable, "-m", "bench.lean", str(mock_port), str(home), *flags]
    with subprocess.Popen(
        command, cwd=cloud.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            headers = {"authorization": f"Bearer {told['key']}"}
            yield process, {"port": told["port"], "headers": headers}
        finally:
            process.kill()


if __name__ == "__main__":
    main()
