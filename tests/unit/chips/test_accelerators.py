"""What the makers' tools print, recorded, and the chips that come of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.chips.accelerators import ToolFailed, find_accelerators, let_go, run_tool
from haneul.chips.chip import Chip
from haneul.chips.detect import survey
from haneul.chips.makers import amd, apple, ascend, nvidia
from haneul.chips.makers.card import MIB, number_of, size_of

RECORDED = Path(__file__).parent / "recorded"
GIB = 1 << 30


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def answering(**answers: str):
    """A runner that knows what some tools say, by the tool's name with _ for -."""

    def run(command: Sequence[str]) -> str:
        words = [command[0].replace("-", "_"), *command[1:]]
        if words[0] == "nvidia_smi" and "-L" in words:
            return answers.get("nvidia_list", "")
        return answers.get(words[0], "")

    return run


def found(tmp_path: Path, **answers: str) -> list[Chip]:
    return find_accelerators(answering(**answers), tmp_path, shared_bytes=128 * GIB).chips


def test_nvidia_cards_are_read_and_unknown_figures_stay_unknown():
    cards = nvidia.parse_cards(recorded("nvidia-h100.csv"))
    assert [card.name for card in cards] == ["NVIDIA H100 80GB HBM3"] * 2 + ["NVIDIA T400"]
    assert cards[0].memory_bytes == 81559 * MIB
    assert cards[0].power_w == 700
    last = cards[2]
    assert (last.memory_bytes, last.memory_free_bytes, last.power_w) == (None, None, None)


@pytest.mark.parametrize("name", ["nvidia-gb10.csv", "nvidia-orin.csv"])
def test_a_chip_without_memory_of_its_own_has_the_processors(name: str, tmp_path: Path):
    (chip,) = found(tmp_path, nvidia_smi=recorded(name))
    assert chip.memory_bytes == 128 * GIB
    assert chip.sources["memory_bytes"] == "shared with the processor"
    assert chip.memory_free_bytes is None


def test_a_card_that_is_divided_is_its_parts_and_the_other_card_stays_whole(tmp_path: Path):
    chips = found(
        tmp_path,
        nvidia_smi=recorded("nvidia-mig.csv"),
        nvidia_list=recorded("nvidia-mig-list.txt"),
    )
    parts, whole = chips
    assert (parts.name, parts.count) == ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", 7)
    assert parts.memory_bytes == 10 * GIB
    assert (parts.compute_share, parts.bandwidth_share) == (1 / 7, 1 / 8)
    assert (whole.name, whole.count, whole.whole) == ("NVIDIA A100-SXM4-80GB", 1, "")
    assert whole.memory_free_bytes == 81037 * MIB


def test_a_part_of_a_card_has_its_share_of_the_published_speeds(tmp_path: Path):
    run = answering(
        nvidia_smi=recorded("nvidia-mig.csv"), nvidia_list=recorded("nvidia-mig-list.txt")
    )
    _, part, whole = survey(root=tmp_path, run=run, measure=False).chips
    assert part.bandwidth is not None
    assert part.compute is not None
    assert whole.bandwidth is not None
    assert whole.compute is not None
    assert part.bandwidth.mid == pytest.approx(whole.bandwidth.mid / 8)
    assert part.compute.mid == pytest.approx(whole.compute.mid / 7)
    assert part.power_w is None
    assert "14% of the units" in part.sources["compute"]


def test_an_error_text_of_a_tool_is_no_card():
    text = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    assert nvidia.parse_cards(text) == []
    for broken in ("ERROR: no amdgpu driver\n", "[1, 2]", "{", "null", '{"gpu_data": 3}', ""):
        assert amd.parse_rocm(broken) == []
        assert amd.parse_amd_smi(broken) == []
        assert apple.parse_displays(broken) == []
        assert apple.parse_system(broken) is None
    assert ascend.parse_npu_smi(recorded("npu-refused.txt")) == []


def test_amd_smi_is_read_in_both_its_forms():
    (card,) = amd.parse_amd_smi(recorded("amd-smi-mi210.json"))
    assert (card.name, card.memory_bytes, card.power_w) == ("AMD Instinct MI210", 65520 * MIB, 300)
    first, second = amd.parse_amd_smi(recorded("amd-smi-mi300x.json"))
    assert (first.name, first.memory_bytes) == ("AMD Instinct MI300X", 196592 * MIB)
    assert first.power_w is None
    assert (second.name, second.memory_bytes) == ("AMD GPU", None)


def test_what_amd_smi_says_is_used_is_not_free():
    used = '[{"gpu": 0, "mem_usage": {"used_vram": {"value": 592, "unit": "MB"}}}]'
    first, second = amd.parse_amd_smi(recorded("amd-smi-mi300x.json"), lambda: used)
    assert first.memory_free_bytes == 196000 * MIB
    assert second.memory_free_bytes is None


def test_rocm_cards_are_read_and_the_driver_entry_is_none():
    (card,) = amd.parse_rocm(recorded("rocm-smi-mi210.json"))
    assert card.name == "Instinct MI210"
    assert card.memory_bytes == 68702699520
    assert card.memory_free_bytes == 68702699520 - 10747904
    assert card.power_w == 300
    (card,) = amd.parse_rocm(recorded("rocm-smi-7900xt.json"))
    assert (card.name, card.memory_bytes) == ("Radeon RX 7900 XT", 21458059264)


def test_a_rocm_card_without_a_figure_of_memory_is_there_all_the_same():
    (card,) = amd.parse_rocm("WARNING: slow\n" + recorded("rocm-smi-780m.json"))
    assert (card.name, card.memory_bytes) == ("Phoenix3", None)


def test_ascend_chips_are_read_but_processes_are_not():
    cards = ascend.parse_npu_smi(recorded("npu-910b3.txt"))
    assert [card.name for card in cards] == ["Ascend 910B3", "Ascend 910B3"]
    assert cards[0].memory_bytes == 65536 * MIB
    assert [card.memory_free_bytes for card in cards] == [62218 * MIB, 6180 * MIB]
    assert len(ascend.parse_npu_smi(recorded("npu-910b.txt"))) == 2


@pytest.mark.parametrize(
    ("name", "count", "used"), [("npu-910c.txt", 2, 3180 + 2896), ("npu-910c-wide.txt", 1, 6293)]
)
def test_two_dies_of_a_card_named_ascend910_are_one_910c(name: str, count: int, used: int):
    cards = ascend.parse_npu_smi(recorded(name))
    assert [card.name for card in cards] == ["Ascend 910C"] * count
    assert cards[0].memory_bytes == 128 * GIB
    assert cards[0].memory_free_bytes == 128 * GIB - used * MIB


def test_a_910c_found_gets_the_published_figures_of_a_910c(tmp_path: Path):
    run = answering(npu_smi=recorded("npu-910c.txt"))
    _, chip = survey(root=tmp_path, run=run, measure=False).chips
    assert (chip.name, chip.count) == ("Ascend 910C", 2)
    assert chip.bandwidth is not None
    assert chip.bandwidth.mid == pytest.approx(3.2e12)


@pytest.mark.parametrize("name", ["npu-310p.txt", "npu-310p-loose.txt"])
def test_an_ascend_card_without_hbm_has_its_one_column_of_memory(name: str):
    cards = ascend.parse_npu_smi(recorded(name))
    assert [card.name for card in cards] == ["Ascend 310P3"] * 2
    assert [card.memory_bytes for card in cards] == [44280 * MIB, 43693 * MIB]


def test_a_mac_is_its_processor_and_its_graphics_with_one_memory(tmp_path: Path):
    run = answering(sysctl=recorded("mac-m4-pro.txt"), system_profiler=recorded("mac-m3-pro.json"))
    cpu, gpu = survey(root=tmp_path, run=run, measure=False).chips
    assert (cpu.name, cpu.vendor, cpu.cores) == ("Apple M4 Pro", "Apple", 8)
    assert cpu.sources["cores"] == "sysctl, performance cores"
    assert {"asimd", "asimddp", "i8mm", "bf16", "sme"} <= set(cpu.instruction_sets)
    assert (gpu.name, gpu.cores) == ("Apple M3 Pro", 14)
    assert gpu.memory_bytes == cpu.memory_bytes == 25769803776


def test_a_name_that_is_a_key_of_the_system_is_spelt_out():
    (card,) = apple.parse_displays(recorded("mac-m1.json"))
    assert (card.name, card.cores, card.is_unified) == ("Apple M1", None, True)


def test_alike_cards_are_one_chip_with_a_count_and_the_least_free_memory(tmp_path: Path):
    chips = found(
        tmp_path, nvidia_smi=recorded("nvidia-h100.csv"), npu_smi=recorded("npu-910b3.txt")
    )
    assert [(chip.id, chip.count) for chip in chips] == [
        ("gpu-nvidia-h100-80gb-hbm3", 2),
        ("gpu-nvidia-t400", 1),
        ("npu-huawei-ascend-910b3", 2),
    ]
    assert chips[0].memory_free_bytes == 40000 * MIB
    assert chips[0].sources["memory_bytes"] == "nvidia-smi"
    assert "memory_bytes" not in chips[1].sources


def test_an_amd_card_is_found_through_its_driver_when_no_tool_is_installed(tmp_path: Path):
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
    (chip,) = found(tmp_path)
    assert chip.name == "AMD GPU 0x744c"
    assert chip.memory_free_bytes == 24753026560


def test_a_compute_node_of_the_driver_is_a_card_and_the_processors_node_is_none(tmp_path: Path):
    nodes = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    for number, facts in (
        (0, "cpu_cores_count 64\nsimd_count 0\nvendor_id 0\n"),
        (3, "cpu_cores_count 0\nsimd_count 152\nvendor_id 4098\ngfx_target_version 90402\n"),
    ):
        bank = nodes / str(number) / "mem_banks/0"
        bank.mkdir(parents=True)
        (nodes / str(number) / "properties").write_text(facts)
        (bank / "properties").write_text(recorded("kfd-mi300x-cpx.txt"))
    (chip,) = found(tmp_path)
    assert (chip.name, chip.memory_bytes) == ("AMD GPU gfx942", 25767706624)
    assert chip.sources["memory_bytes"] == "the amdgpu driver"


def a_device(root: Path, place: str, vendor: str, kind: str, number: str) -> None:
    folder = root / "sys/bus/pci/devices" / place
    folder.mkdir(parents=True)
    for name, text in (("vendor", vendor), ("class", kind), ("device", number)):
        (folder / name).write_text(f"{text}\n")


def test_a_card_on_the_bus_that_no_tool_tells_of_is_named_with_the_tool(tmp_path: Path):
    for index in range(2):
        a_device(tmp_path, f"0000:1{index}:00.0", "0x10de", "0x030200", "0x2330")
    a_device(tmp_path, "0000:20:00.0", "0x10de", "0x068000", "0x22a3")  # a switch between them
    a_device(tmp_path, "0000:30:00.0", "0x19e5", "0x030000", "0x1711")  # a server's console
    a_device(tmp_path, "0000:40:00.0", "0x19e5", "0x120000", "0xd802")
    result = find_accelerators(lambda command: "", tmp_path)
    assert {each.tool: each.why.partition(": ")[2] for each in result.troubles} == {
        "nvidia-smi": "2 of NVIDIA on the PCI bus (0x2330)",
        "npu-smi": "1 of Huawei on the PCI bus (0xd802)",
    }
    run = answering(nvidia_smi=recorded("nvidia-h100.csv"), npu_smi=recorded("npu-910b3.txt"))
    assert find_accelerators(run, tmp_path).troubles == []


def test_a_tool_that_is_absent_says_nothing_and_one_that_fails_says_why(tmp_path: Path):
    assert run_tool(["haneul-no-such-tool"]) == ""
    assert run_tool(["echo", "hello"]) == "hello\n"
    with pytest.raises(ToolFailed, match="No such file"):
        run_tool(["ls", str(tmp_path / "nothing")])


def test_a_tool_that_hangs_is_left_at_its_deadline():
    began = time.perf_counter()
    with pytest.raises(ToolFailed, match=r"no answer within 0\.2 s"):
        run_tool(["sleep", "60"], deadline_s=0.2)
    assert time.perf_counter() - began < 30


class Stuck(subprocess.Popen[bytes]):
    """A process that a kill does not reach, as one that waits in its driver."""

    def kill(self) -> None:
        pass


def test_a_tool_that_cannot_be_killed_is_left_behind():
    tool = Stuck(["sleep", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        start_s = time.monotonic()
        assert not let_go(tool, within_s=0.1)
        assert time.monotonic() - start_s < 30
        assert tool.stdout is not None
        assert tool.stdout.closed
    finally:
        tool.terminate()
        tool.wait()


def test_a_tool_whose_child_keeps_the_pipes_is_left_at_its_deadline():
    start_s = time.monotonic()
    with pytest.raises(ToolFailed, match="no answer"):
        run_tool(["sh", "-c", "sleep 40 & sleep 60"], deadline_s=0.2)
    assert time.monotonic() - start_s < 30


DEEP = "[" * 20_000 + "]" * 20_000
ODD = ("[1]", '{"a": 1}', "[" * 300 + "]" * 300, DEEP, "9" * 5000)


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_tool_may_say_something_odd_in_any_place(odd: str):
    card = f'{{"gpu": {odd}, "asic": {{"market_name": {odd}}}, "vram": {{"size": {odd}}}}}'
    used = f'[{{"gpu": {odd}, "mem_usage": {{"used_vram": {{"value": {odd}}}}}}}]'
    plain = '[{"gpu": 0, "asic": {"market_name": "X"}, "vram": {"size": "1 GB"}}]'
    assert amd.parse_amd_smi(plain, lambda: used)[0].name == "X"
    assert all(each.name == "AMD GPU" for each in amd.parse_amd_smi(f"[{card}]", lambda: used))
    assert amd.parse_rocm(f'{{"card0": {{"a": {odd}}}}}') == []
    graphics = f'{{"sppci_model": {odd}, "_name": "Apple M1", "sppci_cores": {odd}}}'
    assert apple.parse_displays(f'{{"SPDisplaysDataType": [{graphics}]}}') == []
    cores = f'{{"sppci_model": "Apple M1", "sppci_cores": {odd}}}'
    found = apple.parse_displays(f'{{"SPDisplaysDataType": [{cores}]}}')
    assert all(each.cores is None for each in found)


def test_a_tool_that_failed_is_told_of_once_and_the_others_are_asked_all_the_same(tmp_path: Path):
    asked = []

    def run(command: Sequence[str]) -> str:
        asked.append(command[0])
        if command[0] == "amd-smi":
            raise ToolFailed("Permission denied")
        return recorded("npu-910c.txt") if command[0] == "npu-smi" else ""

    result = survey(root=tmp_path, run=run, measure=False)
    assert [(each.tool, each.why) for each in result.troubles] == [("amd-smi", "Permission denied")]
    assert result.chips[1].name == "Ascend 910C"
    assert asked.count("amd-smi") == 1


PARSERS = (
    *(nvidia.parse_cards, amd.parse_amd_smi, amd.parse_rocm, ascend.parse_npu_smi),
    *(apple.parse_displays, apple.parse_system),
)
TEXTS = tuple(path.read_text() for path in sorted(RECORDED.iterdir()) if path.suffix != ".md")


@given(
    st.sampled_from(TEXTS),
    st.integers(0, 4000),
    st.integers(0, 40),
    st.text(max_size=30) | st.sampled_from(["9" * 400, "N/A", "²", "{}", "null", "-1", "\x00"]),
)
def test_no_answer_of_a_tool_makes_a_parser_fail(text: str, at: int, length: int, other: str):
    at %= len(text)
    changed = text[:at] + other + text[at + length :]
    for parse in PARSERS:
        parse(changed)
    nvidia.divided(nvidia.parse_cards(changed), changed)
    for written in (other, {"value": other, "unit": other}, [other], {"value": {}}):
        assert (size_of(written) or 0) >= 0
        assert (number_of(written) or 0) >= 0


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("68702699520", 68702699520),
        ("1536 MB", 1536 * MIB),
        ({"value": 192, "unit": "GB"}, 192 * GIB),
        ({"value": "N/A", "unit": "GB/s"}, None),
        ("N/A", None),
        ("[Not Supported]", None),
        (None, None),
        ("12 parsecs", None),
    ],
)
def test_sizes_are_read_as_tools_write_them(written: object, size: int | None):
    assert size_of(written) == size


def test_numbers_with_units_are_read_and_other_words_are_none():
    assert number_of({"value": 750, "unit": "W"}) == 750
    assert number_of("163.6") == 163.6
    assert number_of("-") is None
