"""Accelerators that are installed here, asked through the tools their makers ship.

Each tool runs with a deadline and from an argument list; a tool that is absent, slow or speaks
another form yields nothing rather than a guess. The parsers are pure and tested with recordings.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.chips.chip import Chip, Kind, chip_id

TOOL_S = 5.0
MIB = 1 << 20

NVIDIA = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free,power.limit",
    "--format=csv,noheader,nounits",
)
AMD = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showmaxpower", "--json")
ASCEND = ("npu-smi", "info")

Run = Callable[[Sequence[str]], str]


class Card(Struct, frozen=True):
    """One device as its tool reports it."""

    name: str
    memory_bytes: int | None
    memory_free_bytes: int | None
    power_w: float | None


def run_tool(command: Sequence[str]) -> str:
    """What the tool prints, or "" when it is absent, fails or outlives its deadline."""
    path = shutil.which(command[0])
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *command[1:]], capture_output=True, timeout=TOOL_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def find_accelerators(run: Run = run_tool, root: Path = Path("/")) -> list[Chip]:
    """Every accelerator found, alike ones as one chip with a count."""
    amd = parse_rocm(run(AMD))
    found = [
        *_chips(parse_nvidia(run(NVIDIA)), kind="gpu", vendor="NVIDIA", source="nvidia-smi"),
        *_chips(amd, kind="gpu", vendor="AMD", source="rocm-smi"),
        *_chips(parse_npu_smi(run(ASCEND)), kind="npu", vendor="Huawei", source="npu-smi"),
    ]
    if not amd:
        found += _chips(read_amdgpu(root), kind="gpu", vendor="AMD", source="the amdgpu driver")
    return found


def parse_nvidia(text: str) -> list[Card]:
    """Lines of 'name, total MiB, free MiB, limit W'; what a card does not tell stays None."""
    cards = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4 and cells[0]:
            cards.append(Card(cells[0], _mib(cells[1]), _mib(cells[2]), _float(cells[3])))
    return cards


def parse_rocm(text: str) -> list[Card]:
    """The JSON of rocm-smi: one object a card, all values text, names that vary in capitals."""
    try:
        found = msgspec.json.decode(text, type=dict[str, dict[str, str]])
    except (msgspec.DecodeError, UnicodeError):
        return []
    cards = []
    for key, written in found.items():
        said = {name.lower(): value for name, value in written.items()}
        total = _bytes(said.get("vram total memory (b)"))
        if not key.startswith("card") or total is None:
            continue
        used = _bytes(said.get("vram total used memory (b)"))
        name = said.get("card series") or said.get("card model") or "AMD GPU"
        free = None if used is None else max(0, total - used)
        cards.append(Card(name, total, free, _float(said.get("max graphics package power (w)"))))
    return cards


def parse_npu_smi(text: str) -> list[Card]:
    """The table of 'npu-smi info': two rows a chip; its last column is memory used / total, MB."""
    cards = []
    name = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3:
            continue
        head = re.fullmatch(r"\d+\s+(\S+)", cells[0])
        memory = re.search(r"(\d+)\s*/\s*(\d+)$", cells[2])
        if head:
            name = head[1]
        elif name and memory and re.fullmatch(r"\d+(\s+\d+)*", cells[0]):
            used, total = int(memory[1]) * MIB, int(memory[2]) * MIB
            cards.append(Card(f"Ascend {name}", total, max(0, total - used), None))
    return [card for card in cards if card.memory_bytes]


def read_amdgpu(root: Path) -> list[Card]:
    """Cards that the Linux driver describes below /sys when rocm-smi is not installed."""
    cards = []
    for device in sorted((root / "sys/class/drm").glob("card[0-9]*/device")):
        total, used = (
            _bytes(_text(device / f"mem_info_vram_{name}")) for name in ("total", "used")
        )
        if _text(device / "vendor") == "0x1002" and total:
            name = _text(device / "product_name") or f"AMD GPU {_text(device / 'device')}".strip()
            cards.append(Card(name, total, None if used is None else max(0, total - used), None))
    return cards


def _chips(cards: list[Card], *, kind: Kind, vendor: str, source: str) -> list[Chip]:
    chips = []
    for name, count in Counter(card.name for card in cards).items():
        alike = [card for card in cards if card.name == name]
        total = _least([card.memory_bytes for card in alike])
        free = _least([card.memory_free_bytes for card in alike])
        power_w = alike[0].power_w
        told = {"memory_bytes": total, "memory_free_bytes": free, "power_w": power_w}
        chips.append(
            Chip(
                id=chip_id(kind, vendor, name),
                name=name,
                kind=kind,
                vendor=vendor,
                count=count,
                memory_bytes=total,
                memory_free_bytes=free,
                power_w=power_w,
                sources={key: source for key, value in told.items() if value is not None},
            )
        )
    return chips


def _least(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None


def _mib(text: str) -> int | None:
    count = _bytes(text)
    return None if count is None else count * MIB


def _bytes(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
