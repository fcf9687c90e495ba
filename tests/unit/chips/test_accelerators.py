"""What the makers' tools print, recorded, and the chips that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from haneul.chips.accelerators import (
    find_accelerators,
    parse_npu_smi,
    parse_nvidia,
    parse_rocm,
    run_tool,
)

NVIDIA = """NVIDIA H100 80GB HBM3, 81559, 81079, 700.00
NVIDIA H100 80GB HBM3, 81559, 40000, 700.00
NVIDIA T400, [N/A], [N/A], [N/A]
"""
ROCM = """{"card0": {"Card series": "Instinct MI210", "VRAM Total Memory (B)": "68702699520",
"VRAM Total Used Memory (B)": "10747904", "Max Graphics Package Power (W)": "300.0"},
"system": {"Driver version": "6.7.0"}}"""
NPU = """
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.rc1.b030            Version: 24.1.rc1.b030                                        |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 101.8       43                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3318 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | OK            | 92.0        39                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          59356/ 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 1712733       | sglangschedul            | 48954                   |
+===========================+===============+====================================================+
"""
MIB = 1 << 20


def test_nvidia_cards_are_read_and_unknown_figures_stay_unknown() -> None:
    cards = parse_nvidia(NVIDIA)
    assert [card.name for card in cards] == ["NVIDIA H100 80GB HBM3"] * 2 + ["NVIDIA T400"]
    assert cards[0].memory_bytes == 81559 * MIB
    assert cards[0].power_w == 700
    assert (cards[2].memory_bytes, cards[2].memory_free_bytes, cards[2].power_w) == (
        None,
        None,
        None,
    )


def test_an_error_text_of_a_tool_is_no_card() -> None:
    text = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    assert parse_nvidia(text) == []
    assert parse_rocm("ERROR: no amdgpu driver\n") == []
    assert parse_rocm("[1, 2]") == []
    assert parse_npu_smi("dcmi module initialize failed. ret is -8005\n") == []


def test_rocm_cards_are_read_and_the_driver_entry_is_none() -> None:
    (card,) = parse_rocm(ROCM)
    assert card.name == "Instinct MI210"
    assert card.memory_bytes == 68702699520
    assert card.memory_free_bytes == 68702699520 - 10747904
    assert card.power_w == 300


def test_ascend_chips_are_read_but_processes_are_not() -> None:
    cards = parse_npu_smi(NPU)
    assert [card.name for card in cards] == ["Ascend 910B3", "Ascend 910B3"]
    assert cards[0].memory_bytes == 65536 * MIB
    assert [card.memory_free_bytes for card in cards] == [62218 * MIB, 6180 * MIB]


def test_alike_cards_are_one_chip_with_a_count_and_the_least_free_memory(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> str:
        return {"nvidia-smi": NVIDIA, "npu-smi": NPU}.get(command[0], "")

    chips = find_accelerators(run, tmp_path)
    assert [(chip.id, chip.count) for chip in chips] == [
        ("gpu-nvidia-h100-80gb-hbm3", 2),
        ("gpu-nvidia-t400", 1),
        ("npu-huawei-ascend-910b3", 2),
    ]
    assert chips[0].memory_free_bytes == 40000 * MIB
    assert chips[0].sources["memory_bytes"] == "nvidia-smi"
    assert "memory_bytes" not in chips[1].sources


def test_an_amd_card_is_found_through_its_driver_when_no_tool_is_installed(tmp_path: Path) -> None:
    device = tmp_path / "sys/class/drm/card1/device"
    device.mkdir(parents=True)
    for name, text in {
        "vendor": "0x1002\n",
        "device": "0x744c\n",
        "mem_info_vram_total": "25753026560\n",
        "mem_info_vram_used": "1000000000\n",
    }.items():
        (device / name).write_text(text)
    (tmp_path / "sys/class/drm/card1-HDMI-A-1").mkdir()
    (chip,) = find_accelerators(lambda command: "", tmp_path)
    assert chip.name == "AMD GPU 0x744c"
    assert chip.memory_free_bytes == 24753026560


def test_a_tool_that_is_absent_or_fails_says_nothing() -> None:
    assert run_tool(["haneul-no-such-tool"]) == ""
    assert run_tool(["false"]) == ""
    assert run_tool(["echo", "hello"]) == "hello\n"
