"""This machine as it is, and the figures the catalogue adds to a driver's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from haneul.chips.bandwidth import measure_bandwidth
from haneul.chips.catalogue import as_chip, complete, load_catalogue, look_up
from haneul.chips.chip import Chip, chip_id
from haneul.chips.detect import detect, detect_processor

H100 = "NVIDIA H100 80GB HBM3, 81559, 81079, 650.00\n"


def test_this_machine_has_a_cpu_with_cores_and_a_measured_bandwidth() -> None:
    began = time.perf_counter()
    cpu = detect(run=lambda command: "")[0]
    took_s = time.perf_counter() - began
    assert cpu.kind == "cpu"
    assert cpu.cores is not None
    assert cpu.cores >= 1
    assert cpu.bandwidth is not None
    assert 1e8 < cpu.bandwidth.mid < 1e13
    assert "measured here" in cpu.sources["bandwidth"]
    assert took_s < 3  # 0.33 s on a quiet machine; room for a busy one


def test_without_measuring_the_bandwidth_stays_unknown(tmp_path: Path) -> None:
    (cpu,) = detect(root=tmp_path, run=lambda command: "", measure=False)
    assert cpu.bandwidth is None
    assert "bandwidth" not in cpu.sources


def test_the_catalogue_adds_what_the_driver_does_not_tell_and_keeps_what_it_does(
    tmp_path: Path,
) -> None:
    def run(command: object) -> str:
        return H100 if "nvidia-smi" in str(command) else ""

    gpu = detect(root=tmp_path, run=run, measure=False)[1]
    assert gpu.memory_bytes == 81559 << 20
    assert gpu.power_w == 650
    assert gpu.bandwidth is not None
    assert gpu.bandwidth.mid == pytest.approx(3.35e12)
    assert gpu.sources["power_w"] == "nvidia-smi"
    assert "catalogue" in gpu.sources["bandwidth"]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("Ascend 910B3", "Ascend 910B"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("", None),
    ],
)
def test_only_the_very_same_card_is_looked_up(name: str, entry: str | None) -> None:
    known = look_up(load_catalogue(), name)
    assert (known.name if known else None) == entry


def test_every_entry_of_the_catalogue_has_a_source_and_no_two_share_a_name() -> None:
    catalogue = load_catalogue()
    names = [known.name for known in catalogue.chip]
    assert len(set(names)) == len(names)
    for known in catalogue.chip:
        chip = as_chip(catalogue, known)
        assert catalogue.dated in "".join(chip.sources.values())


def test_what_nobody_published_stays_unknown() -> None:
    catalogue = load_catalogue()
    ppu = next(known for known in catalogue.chip if known.name == "T-Head PPU")
    chip = as_chip(catalogue, ppu)
    assert chip.memory_bytes == 96 * 10**9
    assert chip.bandwidth is None
    assert chip.compute is None
    unheard = Chip(id="gpu-x", name="X 1", kind="gpu", vendor="X")
    assert complete(catalogue, unheard) == unheard


@pytest.mark.parametrize(
    ("name", "vendor", "slug"),
    [
        ("Intel(R) Xeon(R) Processor @ 2.10GHz", "Intel", "cpu-intel-xeon-2c"),
        ("AMD EPYC 9B14", "AMD", "cpu-amd-epyc-9b14-2c"),
        ("AMD Ryzen 9 7950X 16-Core Processor", "AMD", "cpu-amd-ryzen-9-7950x-2c"),
        ("Neoverse N1", "ARM", "cpu-arm-neoverse-n1-2c"),
    ],
)
def test_the_identifier_says_what_the_chip_is(name: str, vendor: str, slug: str) -> None:
    assert chip_id("cpu", vendor, name, cores=2) == slug


def test_a_short_measurement_in_little_memory_still_gives_an_interval() -> None:
    measured = measure_bandwidth(1, seconds=0.01, free_bytes=64 << 20)
    assert 0 < measured.low < measured.mid < measured.high
    assert measured.unit == "B/s"
    assert "1 thread" in measured.source


def test_the_processor_alone_is_known_at_once_and_by_the_same_name():
    alone, whole = detect_processor(), detect(measure=False)[0]
    assert alone.bandwidth is None
    assert (alone.id, alone.cores) == (whole.id, whole.cores)
