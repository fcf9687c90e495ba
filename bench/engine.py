"""Compares engines on one file: `python -m bench.engine FILE --ours libllama,openvino`.

The workloads are described in bench/engine_work.py. Every engine is given each of them in turn,
round by round, in changing order, so that what else the machine does falls on all. Ratios are of
the same round; medians and ranges are shown. Engines that do not fit together into memory or
patience are left out with --sides. The first side is what the others are compared with.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from bench import engine_peers, machine
from bench import engine_sides as sides
from bench.engine_sides import Running, Setting, Side
from bench.engine_work import TEXT, Found, Target, Words, workloads
from bench.report import quantile, spread, table
from haneul.base.http import Client

TEXT_CHARACTERS = 700_000


def chosen(options: argparse.Namespace) -> list[Side]:
    """The sides asked for; haneul's own first."""
    found: list[Side] = []
    for text in options.ours:
        name, _, rest = text.partition(":")
        words = rest.split("|") if rest else ["--kernel", name]
        file = Path(words.pop(0)) if words and words[0].endswith(".gguf") else None
        found.append(sides.haneul(f"haneul {name}", *words, file=file))
    if options.wheel:
        found.append(sides.wheel_server())
    if options.native == "build":
        options.native = str(engine_peers.build_native())
    if options.native:
        best = Path(options.native_file) if options.native_file else None
        found.append(sides.native_server(Path(options.native), file=best))
        if options.no_flash:
            flags, name = ("-fa", "off"), "native -fa off"
            found.append(sides.native_server(Path(options.native), *flags, file=best, name=name))
        if "E" in options.work:
            lookup = ("--spec-type", "ngram-simple", "--spec-draft-n-max", "32")
            name = "native n-gram"
            found.append(sides.native_server(Path(options.native), *lookup, file=best, name=name))
    if options.vllm:
        program, folder = engine_peers.install_vllm(options.file)
        found.append(sides.vllm(program, folder))
    return found


async def rounds(
    targets: list[Target], options: argparse.Namespace
) -> AsyncIterator[tuple[str, str, Found]]:
    """Each finding as it comes: workload, engine, numbers."""
    words = Words(await targets[0].tokens(TEXT[:TEXT_CHARACTERS]))
    for number in range(options.rounds):
        for name, run in workloads(options.work, words):
            turn = number % len(targets)
            for target in targets[turn:] + targets[:turn]:
                before_s = target.engine.cpu_s()
                try:
                    found = await run(target)
                except Exception as error:  # noqa: BLE001 - one engine's failure is a finding too
                    print(f"{name} {target.engine.name}: {error!r}", file=sys.stderr)
                    continue
                took_s = target.engine.cpu_s() - before_s
                yield name, target.engine.name, found._replace(cpu_s=took_s)


def show(found: dict[str, dict[str, list[Found]]]) -> str:
    """For each workload and engine: speed, waits, processor time, and how haneul compares."""
    heads = ["work", "engine", ">tok/s", ">haneul x", ">first p50 ms", ">p95 ms"]
    heads += [">gap p95 ms", ">stall ms", ">cpu s"]
    rows = []
    for name, by_engine in found.items():
        first = next(iter(by_engine.values()))
        for engine, runs in by_engine.items():
            if not runs:
                rows.append([name, engine, "failed", *[""] * 6])
                continue
            pairs = list(zip(first, runs, strict=False))
            ratios = [ours.tokens_per_s / theirs.tokens_per_s for ours, theirs in pairs]
            firsts = [1000 * asked.first_s for one in runs for asked in one.asked]
            gaps = [1000 * gap for one in runs for asked in one.asked for gap in asked.gaps_s]
            rows.append(
                [
                    name,
                    engine,
                    spread([one.tokens_per_s for one in runs]).show(1),
                    spread(ratios).show(2) if runs is not first else "1",
                    f"{quantile(firsts, 0.5):,.0f}",
                    f"{quantile(firsts, 0.95):,.0f}",
                    f"{quantile(gaps, 0.95):,.0f}" if gaps else "",
                    spread([1000 * one.stall_s for one in runs]).show() if name == "M" else "",
                    spread([one.cpu_s for one in runs]).show(1),
                ]
            )
    return table(heads, rows)


async def measure(options: argparse.Namespace) -> None:
    setting = Setting(options.file, options.threads, options.cells, options.cells // sides.SLOTS)
    with tempfile.TemporaryDirectory(prefix="hn-") as folder:
        running: list[Running] = []
        client = Client()
        try:
            for number, side in enumerate(chosen(options)):
                running.append(Running(side, setting, Path(folder) / f"{number}.log"))
            targets = [Target(one, client) for one in running]
            for target in targets:  # the first answer also brings the weights into memory
                await target.ask("/v1/completions", prompt="Once upon a time")
            found: dict[str, dict[str, list[Found]]] = {}
            async for name, engine, one in rounds(targets, options):
                by_engine = found.setdefault(name, {target.engine.name: [] for target in targets})
                by_engine[engine].append(one)
                print(f"{name} {engine}: {one.tokens_per_s:.1f} tok/s", file=sys.stderr)
            _print(options, found, running)
        finally:
            await client.aclose()
            for one_running in running:
                one_running.close()


def _print(
    options: argparse.Namespace, found: dict[str, dict[str, list[Found]]], running: list[Running]
) -> None:
    facts: dict[str, Any] = machine.facts()
    versions = {
        name: importlib.metadata.version(name)
        for name in ("xllamacpp", "openvino-genai")
        if importlib.util.find_spec(name.replace("-", "_"))
    }
    print(machine.line(facts), versions)
    print(f"{options.file.name}, {options.threads} threads, {options.rounds} rounds")
    print(show(found))
    for one in running:
        print(
            f"{one.name}: loads in {one.load_s:.1f} s, {one.memory_bytes() / 1e6:,.0f} MB at the "
            f"end, {one.peak_bytes() / 1e6:,.0f} MB at most"
        )
    if options.json:
        told = {
            work: {engine: [run.tokens_per_s for run in runs] for engine, runs in by.items()}
            for work, by in found.items()
        }
        options.json.write_text(json.dumps({"machine": facts, "tokens_per_s": told}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default="ABCWDEM", help="which of ABCWDEM")
    parser.add_argument(
        "--ours",
        action="append",
        default=[],
        metavar="NAME[:[FILE.gguf|]FLAG|FLAG…]",
        help="haneul's engine: a kernel's name, or a name with flags of the engine",
    )
    parser.add_argument("--wheel", action="store_true", help="llama-server of the xllamacpp wheel")
    parser.add_argument("--native", help="a llama-server built on this machine, or: build")
    parser.add_argument("--native-file", help="the model in the format that is best for it")
    parser.add_argument(
        "--no-flash", action="store_true", help="also the native one without flash attention"
    )
    parser.add_argument("--vllm", action="store_true", help="vLLM, installed; 3.4 GB")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cells", type=int, default=36_864, help="KV cells, of 16 slots")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.ours = options.ours or ["libllama"]
    uvloop.run(measure(options))


if __name__ == "__main__":
    main()
