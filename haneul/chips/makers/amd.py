"""AMD's cards: amd-smi, its predecessor rocm-smi, and what the driver itself tells below /sys."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from haneul.chips.makers.card import Card, left, number_of, size_of, text_of

STATIC = ("amd-smi", "static", "--asic", "--vram", "--limit", "--json")
MEMORY = ("amd-smi", "metric", "--mem-usage", "--json")
ROCM = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showmaxpower", "--json")
VENDOR = "0x1002"
ODD = (msgspec.MsgspecError, ValueError, RecursionError)  # what other texts raise
POWER = ("max_power", "max_power_limit", "socket_power", "socket_power_limit")  # newest last


def find(run: Callable[[Sequence[str]], str], root: Path) -> tuple[list[Card], str]:
    """The cards and who told of them: the first of the four that knows any."""
    cards = parse_amd_smi(run(STATIC), lambda: run(MEMORY))
    if cards:
        return cards, "amd-smi"
    cards = parse_rocm(run(ROCM))
    if cards:
        return cards, "rocm-smi"
    return read_drm(root) or read_kfd(root), "the amdgpu driver"


def parse_amd_smi(text: str, memory: Callable[[], str] = str) -> list[Card]:
    """The JSON of 'amd-smi static': a list of cards, in later versions below "gpu_data"."""
    cards = [card for card in _objects(text) if isinstance(card.get("asic"), dict)]
    used = {_number(each): _used(each) for each in _objects(memory())} if cards else {}
    found = []
    for card in cards:
        sizes = card.get("vram")
        total = size_of(sizes.get("size")) if isinstance(sizes, dict) else None
        found.append(
            Card(
                name=_named(card["asic"].get("market_name")) or "AMD GPU",
                memory_bytes=total,
                memory_free_bytes=left(total, used.get(_number(card))),
                power_w=_limit(card.get("limit")),
            )
        )
    return found


def parse_rocm(text: str) -> list[Card]:
    """The JSON of rocm-smi: one object a card, all values text, names that vary in capitals."""
    try:
        found = msgspec.json.decode(_from_brace(text), type=dict[str, dict[str, str]])
    except ODD:
        return []
    cards = []
    for key, written in found.items():
        if not key.startswith("card"):
            continue
        said = {name.lower(): value for name, value in written.items()}
        total = size_of(said.get("vram total memory (b)"))
        used = size_of(said.get("vram total used memory (b)"))
        names = (said.get(each) for each in ("card series", "device name", "card model"))
        name = next((each for each in map(_named, names) if each), "AMD GPU")
        power = number_of(said.get("max graphics package power (w)"))
        cards.append(Card(name, total, left(total, used), power))
    return cards


def read_drm(root: Path) -> list[Card]:
    """Cards that the Linux driver describes in /sys/class/drm, with what is used of them."""
    cards = []
    for device in sorted((root / "sys/class/drm").glob("card[0-9]*/device")):
        total, used = (
            size_of(text_of(device / f"mem_info_vram_{name}")) for name in ("total", "used")
        )
        if text_of(device / "vendor") == VENDOR and total:
            name = text_of(device / "product_name")
            name = name or f"AMD GPU {text_of(device / 'device')}".strip()
            cards.append(Card(name, total, left(total, used), None))
    return cards


def read_kfd(root: Path) -> list[Card]:
    """Compute nodes of /sys/class/kfd, which a container may see where it does not see drm."""
    cards = []
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("[0-9]*")):
        facts = dict(
            re.findall(r"^(\w+) ([0-9]{1,18})$", text_of(node / "properties"), re.MULTILINE)
        )
        if facts.get("vendor_id") != str(int(VENDOR, 16)) or facts.get("simd_count", "0") == "0":
            continue
        banks = (text_of(bank) for bank in (node / "mem_banks").glob("*/properties"))
        sizes = [
            int(size)
            for bank in banks
            for heap, size in re.findall(r"heap_type ([0-9])\s+size_in_bytes ([0-9]{1,18})", bank)
            if heap in ("1", "2")  # of the card, visible to the processor or not
        ]
        target = _target(facts.get("gfx_target_version", ""))
        cards.append(Card(f"AMD GPU {target}".strip(), sum(sizes) or None, None, None))
    return cards


def _target(version: str) -> str:
    """gfx942 of 90402."""
    if not version.isdigit() or int(version) < 10000:
        return ""
    number = int(version)
    return f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}"


def _objects(text: str) -> list[dict[str, Any]]:
    """The cards of a JSON text in any of its three forms; none where it is another text."""
    try:
        found = msgspec.json.decode(_from_brace(text))
    except ODD:
        return []
    if isinstance(found, dict):
        found = found.get("gpu_data", [found])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _from_brace(text: str) -> str:
    """Without the warnings that these tools print before their JSON."""
    starts = [at for at in (text.find("["), text.find("{")) if at >= 0]
    return text[min(starts) :] if starts else ""


def _number(card: dict[str, Any]) -> str:
    """Which of the cards it is; "" where that is no number."""
    number = card.get("gpu")
    return str(number) if isinstance(number, int | str) else ""


def _used(card: dict[str, Any]) -> int | None:
    usage = card.get("mem_usage")
    return size_of(usage.get("used_vram")) if isinstance(usage, dict) else None


def _limit(limit: object) -> float | None:
    """Watts; later versions keep them one level deeper, below a name such as "ppt0"."""
    if not isinstance(limit, dict):
        return None
    inner = [each for each in limit.values() if isinstance(each, dict)]
    for facts in (limit, *inner):
        for name in POWER:
            found = number_of(facts.get(name))
            if found:
                return found
    return None


def _named(name: object) -> str:
    """A name that says something: neither N/A nor the number of a device."""
    if not isinstance(name, str) or name.strip().upper() in ("", "N/A"):
        return ""
    return "" if name.strip().lower().startswith("0x") else name.strip()
