"""What the gateway costs, in time and in processor time: `python -m bench.overhead`.

Two parts. Real: the embedded engine on a model of random weights, asked straight and through the
gateway in turn. Isolated: a mock engine that costs next to nothing behind haneul and behind its
peers (nginx, a bare relay in Python, vllm-router, sglang-router; --large for LiteLLM and Portkey),
so that what is measured is the gateway. Everything on loopback, with keys, budgets, rates and the
ledger on. About five minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import cloud, isolated, machine, peers, processes, real
from bench.isolated import Gateway
from bench.peers import Started
from bench.report import Spread, table
from bench.upstream import MODEL

TINY = Path(__file__).parent.parent / "tests" / "tiny_gguf.py"
DIRECT = "the mock itself"
US, MS = 1e6, 1e3


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    facts = machine.facts()
    with tempfile.TemporaryDirectory(prefix="hn-") as scratch:
        found = {"machine": facts, **_measure(Path(scratch), arguments)}
    found["machine_after"] = machine.facts()
    found["took_s"] = time.monotonic() - began
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of everything; ranges are shown")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a window under load")
    parser.add_argument("--model", type=Path, help="a GGUF file instead of random weights")
    parser.add_argument("--no-peers", action="store_true", help="only haneul and the mock")
    parser.add_argument("--large", action="store_true", help="LiteLLM and Portkey too")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _measure(scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    repeats, seconds = arguments.repeats, arguments.seconds
    where = isolated.cores()
    with ExitStack() as stack:
        mock_pid, mock_port = stack.enter_context(cloud.upstream())
        model = arguments.model or _random_model(scratch)
        _say("starting the cloud")
        measured = stack.enter_context(cloud.serving(scratch, model.absolute(), mock_port))
        _say("real: straight to the engine and through the gateway")
        added = real.added(measured, repeats)
        event_cpu = real.event_cpu(measured, seconds, repeats)
        haneul = Gateway("haneul", [measured.pid], measured.gateway, f"mock/{MODEL}")
        started = _peers(stack, scratch, mock_port, arguments)
        gateways = [haneul, *(_gateway(peer) for peer in started)]
        processes.pin([mock_pid], where.others)
        for gateway in gateways:
            processes.pin(gateway.pids, where.gateway)
        mock = Gateway(DIRECT, [], {"port": mock_port}, MODEL)
        _say("isolated: one request at a time")
        latency = isolated.latency(gateways, mock, where, repeats=repeats)
        _say(f"isolated: {isolated.CONNECTIONS} at a time")
        load = isolated.load([*gateways, mock], where, seconds=seconds, repeats=repeats)
    return {
        "versions": _versions() | {peer.name: peer.version for peer in started},
        "real": added,
        "real_event_cpu_s": event_cpu,
        "latency": latency,
        "load": load,
    }


def _random_model(scratch: Path) -> Path:
    path = scratch / "tiny.gguf"
    try:
        subprocess.run([sys.executable, TINY, path], check=True)
    except subprocess.CalledProcessError as cause:
        raise SystemExit("run `make dev` first, or name a GGUF file with --model") from cause
    return path


def _peers(
    stack: ExitStack, scratch: Path, mock_port: int, arguments: argparse.Namespace
) -> list[Started]:
    """Every peer that can be had here; the others are named with their reason."""
    wanted = () if arguments.no_peers else peers.PEERS
    found = []
    large = [peers.LITELLM_PEER, peers.PORTKEY_PEER] if arguments.large else []
    for peer in [*wanted, *large]:
        _say(f"starting {peer.name}")
        try:
            command = peers.install(peer)
            found.append(stack.enter_context(peers.start(peer, command, mock_port, scratch)))
        except RuntimeError as error:
            _say(f"left out: {error}")
    return found


def _gateway(peer: Started) -> Gateway:
    to = {"port": peer.port, "headers": peer.headers}
    return Gateway(peer.name, processes.tree(peer.pid), to, MODEL)


def _versions() -> dict[str, str]:
    ours = ("haneul", "uvicorn", "uvloop", "httptools", "msgspec", "xllamacpp")
    return {name: importlib.metadata.version(name) for name in ours}


def _say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def _print(found: dict[str, Any]) -> None:
    print(machine.line(found["machine"]))
    print("  ".join(f"{name} {version}" for name, version in found["versions"].items()))
    print("\nReal: the embedded engine, straight and through the gateway; ms, added in µs")
    print(_real_table(found["real"]))
    event = _scaled(found["real_event_cpu_s"], US)
    print(f"\nProcessor time of the gateway for a streamed token of that engine: {event.show()} µs")
    print("\nIsolated: one whole answer of the mock at a time; ms, added in µs")
    print(_latency_table(found["latency"]))
    print(f"\nIsolated: {isolated.CONNECTIONS} at a time, one core for the gateway, median (range)")
    print(_load_table(found["load"]))
    print(_ratios(found["load"]))
    after = found["machine_after"]["load"]["1 min"]
    print(f"\ntook {found['took_s']:.0f} s; load at the end {after:.1f} (1 min)")


def _real_table(rows: list[dict[str, Any]]) -> str:
    heads = ("ANSWER", "PACE", "WHAT", ">ENGINE P50", ">P99", ">GATEWAY P50", ">P99",
             ">ADDED P50 µs", ">ADDED P99 µs", ">ERRORS")  # fmt: skip
    cells = []
    for row in rows:
        kind = "streamed" if row["is_stream"] else "whole"
        for what in ("first", "total"):
            if (one := row[what]) is not None:
                answer = f"{row['tokens']} tokens, {kind}"
                end = "first byte" if what == "first" else "end"
                cells.append((answer, row["pace"], end, *_pair_cells(one)))
    return table(heads, cells)


def _latency_table(found: dict[str, dict[str, Any]]) -> str:
    heads = ("GATEWAY", "PACE", ">MOCK P50", ">P99", ">GATEWAY P50", ">P99", ">ADDED P50 µs",
             ">ADDED P99 µs", ">ERRORS")  # fmt: skip
    return table(
        heads,
        [
            (name, pace, *_pair_cells(one))
            for name, paces in found.items()
            for pace, one in paces.items()
        ],
    )


def _pair_cells(one: dict[str, Any]) -> tuple[str, ...]:
    """The last columns of both tables of pairs: milliseconds, then microseconds added."""
    names = ("engine_p50", "engine_p99", "gateway_p50", "gateway_p99")
    return (
        *(f"{one[name] * MS:.2f}" for name in names),
        _scaled(one["added"], US).show(),
        f"{one['added_p99'] * US:,.0f}",
        str(one["errors"]),
    )


def _load_table(found: dict[str, dict[str, Any]]) -> str:
    heads = ("GATEWAY", ">CPU µs/REQUEST", ">REQUESTS/s", ">P99 ms", ">CPU µs/EVENT", ">EVENTS/s",
             ">EVENTS/READ", ">MB", ">ERRORS")  # fmt: skip
    rows = []
    for name, one in found.items():
        is_gateway = name != DIRECT
        rows.append(
            (
                name,
                _scaled(one["request_cpu_s"], US).show() if is_gateway else "",
                one["requests_per_s"].show(),
                _scaled(one["p99_s"], MS).show(1),
                _scaled(one["event_cpu_s"], US).show(1) if is_gateway else "",
                one["events_per_s"].show(),
                f"{one['events_per_read'].median:.2f}",
                f"{one['memory_bytes'] / 1e6:.0f}" if is_gateway else "",
                str(one["errors"]),
            )
        )
    return table(heads, rows)


def _ratios(found: dict[str, dict[str, Any]]) -> str:
    """haneul's medians over each peer's."""
    ours = found["haneul"]
    lines = []
    for name, one in found.items():
        if name not in ("haneul", DIRECT):
            request, event, rate = (
                ours[what].median / one[what].median
                for what in ("request_cpu_s", "event_cpu_s", "requests_per_s")
            )
            lines.append(
                f"haneul / {name}: {request:.2f}× the processor time of a request, "
                f"{event:.2f}× of an event, {rate:.2f}× the requests per second"
            )
    return "\n".join(["", *lines])


def _scaled(value: Spread, factor: float) -> Spread:
    return Spread(*(number * factor for number in value))


if __name__ == "__main__":
    main()
