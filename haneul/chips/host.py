"""The CPU and memory this process may use: the machine's, cut down to the control group's.

Linux tells all of it in text files; the parsers are pure so that recorded files test them. On
other systems, or where a file is missing, only what Python itself knows is said.
"""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path

from msgspec import Struct

UNLIMITED = 1 << 60  # control groups of version 1 write "no limit" as a huge number

# The sets that decide which kernels an engine can run; all others are noise here.
TELLING = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
    "lsx", "lasx", "vsx", "v",
)  # fmt: skip
MAKERS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
# Source: the MIDR_EL1 numbers that Linux prints, as listed in arch/arm64/include/asm/cputype.h.
ARM_MAKERS = {0x41: "ARM", 0x48: "HiSilicon", 0x51: "Qualcomm", 0x61: "Apple", 0xC0: "Ampere"}
ARM_PARTS = {
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
    (0x48, 0xD01): "Kunpeng 920",
}


class Processor(Struct, frozen=True):
    """What /proc/cpuinfo says; physical_cores is None where it does not say."""

    name: str
    vendor: str
    threads: int
    physical_cores: int | None
    instruction_sets: tuple[str, ...]


class Host(Struct, frozen=True, kw_only=True):
    """The share of this machine that this process may use."""

    processor: Processor
    cores: int
    cores_source: str
    memory_bytes: int | None
    memory_free_bytes: int | None
    memory_source: str


def read_host(root: Path = Path("/")) -> Host:
    """Reads the machine below root; missing files leave their figures unknown."""
    processor = parse_cpuinfo(_text(root / "proc/cpuinfo"))
    memory = parse_meminfo(_text(root / "proc/meminfo"))
    groups = parse_groups(_text(root / "proc/self/cgroup"))
    cores, cores_source = _cores(root, processor, groups)
    total, free = memory.get("MemTotal") or _installed_bytes(root), memory.get("MemAvailable")
    source = "/proc/meminfo"
    limit, used = group_memory(root, groups)
    if limit is not None and (total is None or limit < total):
        left = max(0, limit - used)
        total, free, source = limit, left if free is None else min(free, left), "control group"
    return Host(
        processor=processor,
        cores=cores,
        cores_source=cores_source,
        memory_bytes=total,
        memory_free_bytes=free,
        memory_source=source,
    )


def parse_cpuinfo(text: str) -> Processor:
    """The processor in any of the forms Linux writes: x86, ARM, POWER, RISC-V, LoongArch."""
    blocks = [_fields(block) for block in re.split(r"\n\s*\n", text)]
    merged = {key: value for block in reversed(blocks) for key, value in block.items()}
    found = set(f"{merged.get('flags', '')} {merged.get('features', '')}".lower().split())
    found |= set(re.findall(r"(?<=[a-z])v\b", merged.get("isa", "").split("_")[0]))
    pairs = {
        (block.get("physical id", "0"), block["core id"]) for block in blocks if "core id" in block
    }
    return Processor(
        name=_name(merged) or platform.processor() or platform.machine() or "unknown",
        vendor=_vendor(merged),
        threads=sum("processor" in block for block in blocks) or os.cpu_count() or 1,
        physical_cores=len(pairs) or None,
        instruction_sets=tuple(name for name in TELLING if name in found),
    )


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs if key.strip()}


def _name(merged: dict[str, str]) -> str:
    for key in ("model name", "cpu model", "uarch", "cpu"):
        if merged.get(key):
            return merged[key]
    maker, part = _hex(merged.get("cpu implementer")), _hex(merged.get("cpu part"))
    if maker is None or part is None:
        return ""
    return ARM_PARTS.get((maker, part), f"{ARM_MAKERS.get(maker, 'ARM')} part {part:#x}")


def _vendor(merged: dict[str, str]) -> str:
    if written := merged.get("vendor_id"):
        return MAKERS.get(written, written)
    maker = _hex(merged.get("cpu implementer"))
    return ARM_MAKERS.get(maker, "unknown") if maker is not None else "unknown"


def _hex(text: str | None) -> int | None:
    try:
        return int(text or "", 16)
    except ValueError:
        return None


def parse_meminfo(text: str) -> dict[str, int]:
    """The lines of /proc/meminfo in bytes."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return {name: int(count) * 1024 for name, count in found}


def parse_groups(text: str) -> dict[str, str]:
    """Of /proc/self/cgroup: the path of each controller; "" is the one hierarchy of version 2."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def group_memory(root: Path, groups: dict[str, str]) -> tuple[int | None, int]:
    """The smallest memory limit of this group and the groups above it, and what is used of it."""
    limits: list[tuple[int, int]] = []
    for folder in _folders(root, groups, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit = _number(folder / limit_name)
            if limit is not None and limit < UNLIMITED:
                cached = _cache_bytes(_text(folder / "memory.stat"))
                limits.append((limit, max(0, (_number(folder / used_name) or 0) - cached)))
    return min(limits, key=lambda pair: pair[0] - pair[1], default=(None, 0))


def _cache_bytes(text: str) -> int:
    """File pages that the kernel gives back when asked; they count as used but are free."""
    found: dict[str, str] = dict(re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE))
    return int(found.get("total_inactive_file") or found.get("inactive_file") or 0)


def group_cores(root: Path, groups: dict[str, str]) -> float | None:
    """The smallest CPU quota in cores, or None without one."""
    quotas: list[float] = []
    for folder in _folders(root, groups, "cpu"):
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _folders(root: Path, groups: dict[str, str], controller: str) -> list[Path]:
    """This process's group and every group above it, in both versions' places."""
    mount = root / "sys/fs/cgroup"
    folders = []
    for top, path in ((mount / controller, groups.get(controller)), (mount, groups.get(""))):
        if path is None:
            continue
        steps = [step for step in path.split("/") if step and step != ".."]
        folders += [top.joinpath(*steps[:depth]) for depth in range(len(steps) + 1)]
    return folders


def _cores(root: Path, processor: Processor, groups: dict[str, str]) -> tuple[int, str]:
    """Physical cores that this process may keep busy: two threads of one core do no more work."""
    cores, source = processor.threads, "/proc/cpuinfo"
    if processor.physical_cores and processor.physical_cores < cores:
        cores, source = processor.physical_cores, "/proc/cpuinfo, physical cores"
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed < cores:
            cores, source = allowed, "CPU affinity of this process"
    quota = group_cores(root, groups)
    if quota is not None and quota < cores:
        cores, source = max(1, math.floor(quota)), "CPU quota of the control group"
    return cores, source


def _installed_bytes(root: Path) -> int | None:
    if root != Path("/"):
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
