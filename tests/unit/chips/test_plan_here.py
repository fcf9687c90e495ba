"""What is found here, as a plan counts it."""

from __future__ import annotations

import pytest

from haneul.chips.chip import Chip
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.here import planned

FILES = load_chips()
GB = 10**9


def a_chip(name: str, memory_gb: float | None, **more: object) -> Chip:
    memory = None if memory_gb is None else round(memory_gb * GB)
    told = {"id": "gpu-x", "kind": "gpu", "vendor": "x", "memory_bytes": memory, **more}
    return Chip(name=name, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "memory_gb", "ident"),
    [
        ("NVIDIA H100 80GB HBM3", 85.5, "h100"),
        ("NVIDIA H200", 150.8, "h200"),
        ("NVIDIA A100-SXM4-80GB", 85.9, "a100"),
        ("NVIDIA GeForce RTX 4090", 25.8, "rtx-4090"),
        ("AMD Instinct MI300X", 206.1, "mi300x"),
        ("Ascend 910B3", 68.7, "ascend-910b"),
        ("Ascend 910C", 137.4, "ascend-910c"),
        ("Apple M4 Pro", 25.8, "m4-pro"),
        ("NVIDIA H200", None, "h200"),
        ("NVIDIA H20", 150.8, None),  # the later one of that name, with more and faster memory
        ("NVIDIA H100 PCIe", 85.5, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 17.2, None),
        ("AMD GPU gfx942", 206.1, None),
        ("", None, None),
    ],
)
def test_only_the_very_same_chip_is_planned_by_its_file(name, memory_gb, ident):
    found = planned(FILES, a_chip(name, memory_gb))
    assert (found.id if found else None) == ident


def test_an_apple_chip_is_planned_with_the_memory_it_was_bought_with():
    found = planned(FILES, a_chip("Apple M4 Pro", 25.8, sources={"memory_bytes": "sysctl"}))
    assert found is not None
    assert found.memory_gb == pytest.approx(25.8)
    assert "memory as sysctl tells it" in found.source


def test_neither_a_processor_nor_a_part_of_a_card_has_a_chip_file():
    assert planned(FILES, a_chip("Intel i9-13900K", 137, kind="cpu")) is None
    assert planned(FILES, a_chip("NVIDIA H200", 18, whole="NVIDIA H200")) is None


def test_no_two_chip_files_answer_to_one_name():
    names = [name.lower() for chip in FILES.values() for name in {chip.name.lower(), *chip.aliases}]
    assert sorted(names) == sorted(set(names))
