"""What chips are here: the CPU from Linux's own files, accelerators from their makers' tools."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from haneul.chips.accelerators import Run, ToolFailed, Trouble, find_accelerators, run_tool
from haneul.chips.bandwidth import measure_bandwidth
from haneul.chips.catalogue import complete, load_catalogue
from haneul.chips.chip import Chip, chip_id
from haneul.chips.host import Host, read_host
from haneul.chips.makers.apple import SYSTEM, parse_system


class Survey(Struct, frozen=True):
    """What is here, the CPU first, and which tools were here and did not answer."""

    chips: list[Chip]
    troubles: list[Trouble]


def detect(*, root: Path = Path("/"), run: Run = run_tool, measure: bool = True) -> list[Chip]:
    """The CPU first, then every accelerator; blocks for up to half a second, longer per tool.

    With measure, the CPU's memory bandwidth is measured; without, it stays unknown.
    """
    return survey(root=root, run=run, measure=measure).chips


def survey(*, root: Path = Path("/"), run: Run = run_tool, measure: bool = True) -> Survey:
    """The same, with the tools that did not answer: their chips may be here all the same."""
    catalogue = load_catalogue()
    cpu = cpu_of(_host(root, run))
    if measure:
        cpu = _with_bandwidth(cpu)
    found = find_accelerators(run, root, shared_bytes=cpu.memory_bytes)
    return Survey([cpu, *(complete(catalogue, chip) for chip in found.chips)], found.troubles)


def detect_processor(*, root: Path = Path("/")) -> Chip:
    """The CPU alone, its bandwidth still unknown; takes some milliseconds."""
    return cpu_of(read_host(root))


def _host(root: Path, run: Run) -> Host:
    """From Linux's own files; a system without them is a Mac, or says little."""
    if not (root / "proc/cpuinfo").exists():
        try:
            mac = parse_system(run(SYSTEM))
        except ToolFailed:
            mac = None
        if mac is not None:
            return mac
    return read_host(root)


def cpu_of(host: Host) -> Chip:
    """The host's processor as a chip, its bandwidth still unknown."""
    processor = host.processor
    sources = {"cores": host.cores_source}
    if host.memory_bytes is not None:
        sources["memory_bytes"] = host.memory_source
    if host.memory_free_bytes is not None:
        sources["memory_free_bytes"] = host.memory_source
    return Chip(
        id=chip_id("cpu", processor.vendor, processor.name, cores=host.cores),
        name=processor.name,
        kind="cpu",
        vendor=processor.vendor,
        cores=host.cores,
        memory_bytes=host.memory_bytes,
        memory_free_bytes=host.memory_free_bytes,
        instruction_sets=processor.instruction_sets,
        sources=sources,
    )


def _with_bandwidth(cpu: Chip) -> Chip:
    measured = measure_bandwidth(cpu.cores or 1, free_bytes=cpu.memory_free_bytes)
    return replace(cpu, bandwidth=measured, sources=cpu.sources | {"bandwidth": measured.source})
