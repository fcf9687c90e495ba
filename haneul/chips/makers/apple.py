"""A Mac: its processor through sysctl, its graphics through system_profiler."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from haneul.chips.host import Host, Processor
from haneul.chips.makers.card import Card, size_of

GRAPHICS = ("system_profiler", "SPDisplaysDataType", "-json")
SYSTEM = ("sysctl", "hw", "machdep.cpu")
# What sysctl calls a feature, and what Linux does.
FEATURES = {
    "AdvSIMD": "asimd",
    "FEAT_DotProd": "asimddp",
    "FEAT_I8MM": "i8mm",
    "FEAT_BF16": "bf16",
    "FEAT_SME": "sme",
    "AVX2_0": "avx2",
    "AVX512F": "avx512f",
    "FMA": "fma",
}


def find(run: Callable[[Sequence[str]], str]) -> list[Card]:
    """Apple's own graphics, whose memory is the processor's; no engine uses older Macs' cards."""
    return parse_displays(run(GRAPHICS))


def parse_displays(text: str) -> list[Card]:
    """The JSON of 'system_profiler SPDisplaysDataType'; cards of other makers are left out."""
    try:
        found = msgspec.json.decode(text, type=dict[str, list[dict[str, Any]]])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []
    cards = []
    for each in found.get("SPDisplaysDataType", []):
        told = each.get("sppci_model") or each.get("_name")
        name = _plain(told) if isinstance(told, str) else ""
        if not name.startswith("Apple"):
            continue
        cores = size_of(each.get("sppci_cores"))
        cards.append(
            Card(
                name=name,
                memory_bytes=None,
                memory_free_bytes=None,
                power_w=None,
                cores=cores,
                is_unified=True,
            )
        )
    return cards


def parse_system(text: str) -> Host | None:
    """The processor and memory of 'sysctl hw machdep.cpu'; None where it is another text."""
    said = dict(re.findall(r"^([\w.]+)[:=] ?(.*)$", text, re.MULTILINE))
    name, memory = said.get("machdep.cpu.brand_string", ""), size_of(said.get("hw.memsize"))
    if not name or memory is None:
        return None
    cores = size_of(said.get("hw.physicalcpu")) or size_of(said.get("hw.ncpu")) or 1
    # The slow cores of a chip that has two kinds hold the fast ones up when all share a matrix.
    fast = size_of(said.get("hw.perflevel0.physicalcpu")) or cores
    has = {key.rpartition(".")[2].lower() for key, value in said.items() if value.strip() == "1"}
    return Host(
        processor=Processor(
            name=name,
            vendor="Apple" if name.startswith("Apple") else "Intel",
            threads=size_of(said.get("hw.logicalcpu")) or cores,
            physical_cores=cores,
            instruction_sets=tuple(plain for key, plain in FEATURES.items() if key.lower() in has),
        ),
        cores=fast,
        cores_source="sysctl, performance cores" if fast < cores else "sysctl, physical cores",
        memory_bytes=memory,
        memory_free_bytes=None,
        memory_source="sysctl",
    )


def _plain(name: str) -> str:
    """'Apple M1' of the key kHW_AppleM1Item, which stands where a name should."""
    key = re.fullmatch(r"kHW_(\w+?)Item", name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key[1]) if key else name
