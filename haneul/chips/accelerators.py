"""Accelerators that are installed here, asked through the tools their makers ship.

Each tool runs with a deadline and from an argument list; one that is absent says nothing, and one
that fails or hangs is told of, since its cards may well be here. See haneul/chips/makers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from haneul.chips.chip import Chip, Kind, chip_id
from haneul.chips.makers import amd, apple, ascend, nvidia
from haneul.chips.makers.bus import MAKERS, cards_on_bus
from haneul.chips.makers.card import Card

TOOL_S = 5.0
ENDING_S = 1.0  # for a tool that was killed; one that is stuck in its driver does not end
SAID_MOST = 1 << 22  # characters of a tool's answer; a machine of 16 cards says some hundred kB
REASON_MOST = 200

Run = Callable[[Sequence[str]], str]


class ToolFailed(Exception):
    """A maker's tool is here and gave no answer; says why."""


class Trouble(Struct, frozen=True):
    """A tool that is here and did not answer: its chips are unknown, not absent."""

    tool: str
    why: str


class Found(Struct, frozen=True):
    """The accelerators, and what could not be asked."""

    chips: list[Chip]
    troubles: list[Trouble]


def run_tool(command: Sequence[str], *, deadline_s: float = TOOL_S) -> str:
    """What the tool prints, "" where there is none. Raises ToolFailed with its reason."""
    path = shutil.which(command[0])
    if path is None:
        return ""
    try:
        tool = subprocess.Popen(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as cause:
        raise ToolFailed(f"cannot be started: {cause.strerror}") from cause
    try:
        out, errors = tool.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired as cause:
        stuck = "" if let_go(tool) else ", and does not end: its driver may be stuck"
        raise ToolFailed(f"gave no answer within {deadline_s:g} s{stuck}") from cause
    except BaseException:
        let_go(tool)
        raise
    said = out[:SAID_MOST].decode(errors="replace")
    if tool.returncode != 0:
        words = f"{errors[:SAID_MOST].decode(errors='replace')} {said}".split()
        raise ToolFailed(" ".join(words)[:REASON_MOST] or f"ended with {tool.returncode}")
    return said


def let_go(tool: subprocess.Popen[bytes], *, within_s: float = ENDING_S) -> bool:
    """Ends the tool and closes its pipes; False where it does not end and is left behind.

    A call that hangs in a driver holds even a kill up, for as long as the driver hangs.
    """
    tool.kill()
    for pipe in (tool.stdout, tool.stderr):
        if pipe is not None:
            pipe.close()
    try:
        tool.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def find_accelerators(
    run: Run = run_tool, root: Path = Path("/"), *, shared_bytes: int | None = None
) -> Found:
    """Every accelerator found, alike ones as one chip with a count.

    shared_bytes is the processor's memory, for chips that have none of their own.
    """
    troubles: dict[str, Trouble] = {}

    def ask(command: Sequence[str]) -> str:
        if command[0] in troubles:
            return ""
        try:
            return run(command)
        except ToolFailed as failed:
            troubles[command[0]] = Trouble(command[0], str(failed))
            return ""

    asked: list[tuple[list[Card], Kind, str, str]] = [
        (nvidia.find(ask), "gpu", "NVIDIA", "nvidia-smi"),
        _amd(ask, root),
        (ascend.find(ask), "npu", "Huawei", "npu-smi"),
        (apple.find(ask), "gpu", "Apple", "system_profiler"),
    ]
    chips = []
    for cards, kind, vendor, source in asked:
        shared = [_sharing(card, shared_bytes) for card in cards]
        chips += _chips(shared, kind=kind, vendor=vendor, source=source)
    told = {chip.vendor for chip in chips}
    for tool, devices in cards_on_bus(root).items():
        if MAKERS[tool] not in told and tool not in troubles:
            why = f"it is not there, or sees none: {len(devices)} of {MAKERS[tool]} on the PCI bus"
            troubles[tool] = Trouble(tool, f"{why} ({', '.join(sorted(set(devices)))})")
    return Found(chips, list(troubles.values()))


def _amd(ask: Run, root: Path) -> tuple[list[Card], Kind, str, str]:
    cards, source = amd.find(ask, root)
    return cards, "gpu", "AMD", source


def _sharing(card: Card, shared_bytes: int | None) -> Card:
    """A chip without memory of its own has the processor's."""
    return replace(card, memory_bytes=shared_bytes) if card.is_unified else card


def _chips(cards: list[Card], *, kind: Kind, vendor: str, source: str) -> list[Chip]:
    chips = []
    for name, count in Counter(card.name for card in cards).items():
        alike = [card for card in cards if card.name == name]
        first = alike[0]
        total = _least([card.memory_bytes for card in alike])
        free = _least([card.memory_free_bytes for card in alike])
        told = {"memory_free_bytes": free, "power_w": first.power_w, "cores": first.cores}
        sources = {key: source for key, value in told.items() if value is not None}
        if total is not None:
            sources["memory_bytes"] = "shared with the processor" if first.is_unified else source
        chips.append(
            Chip(
                id=chip_id(kind, vendor, name),
                name=name,
                kind=kind,
                vendor=vendor,
                count=count,
                cores=first.cores,
                memory_bytes=total,
                memory_free_bytes=free,
                power_w=first.power_w,
                whole=first.whole,
                compute_share=first.compute_share,
                bandwidth_share=first.bandwidth_share,
                sources=sources,
            )
        )
    return chips


def _least(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None
