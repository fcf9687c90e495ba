"""What is found here, as a plan counts it."""

from __future__ import annotations

import pytest

from haneul.chips.chip import Chip
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.here import planned

FILES = load_chips()
GIB = 2**30


def a_chip(name: str, memory_gb: float | None, **more: object) -> Chip:
    memory = None if memory_gb is None else round(memory_gb * GIB)
    told = {"id": "gpu-x", "kind": "gpu", "vendor": "x", "memory_bytes": memory, **more}
    return Chip(name=name, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "memory_gb", "ident"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "h100"),
        ("NVIDIA H200", 140.4, "h200"),
        ("NVIDIA A100-SXM4-80GB", 80, "a100"),
        ("NVIDIA GeForce RTX 4090", 24, "rtx-4090"),
        ("AMD Instinct MI300X", 192, "mi300x"),
        ("Ascend 910B3", 64, "ascend-910b"),
        ("Ascend 910C", 128, "ascend-910c"),
        ("Apple M4 Pro", 24, "m4-pro"),
        ("NVIDIA H200", None, "h200"),
        ("NVIDIA H20", 140.4, None),  # the later one of that name, with more and faster memory
        ("NVIDIA H100 PCIe", 79.6, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, None),
        ("AMD GPU gfx942", 192, None),
        ("", None, None),
    ],
)
def test_only_the_very_same_chip_is_planned_by_its_file(name, memory_gb, ident):
    found = planned(FILES, a_chip(name, memory_gb))
    assert (found.id if found else None) == ident


def test_an_apple_chip_is_planned_with_the_memory_it_was_bought_with():
    found = planned(FILES, a_chip("Apple M4 Pro", 24, sources={"memory_bytes": "sysctl"}))
    assert found is not None
    assert found.memory_gb == pytest.approx(24)
    assert "memory as sysctl tells it" in found.source


def test_neither_a_processor_nor_a_part_of_a_card_has_a_chip_file():
    assert planned(FILES, a_chip("Intel i9-13900K", 137, kind="cpu")) is None
    assert planned(FILES, a_chip("NVIDIA H200", 18, whole="NVIDIA H200")) is None


def test_no_two_chip_files_answer_to_one_name():
    names = [name.lower() for chip in FILES.values() for name in {chip.name.lower(), *chip.aliases}]
    assert sorted(names) == sorted(set(names))
