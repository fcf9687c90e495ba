"""Cards on the PCI bus, which Linux names whether or not a driver or a tool is installed."""

from __future__ import annotations

from pathlib import Path

from haneul.chips.makers.card import text_of

TOOLS = {"0x10de": "nvidia-smi", "0x1002": "amd-smi", "0x19e5": "npu-smi"}  # by the maker's number
MAKERS = {"nvidia-smi": "NVIDIA", "amd-smi": "AMD", "npu-smi": "Huawei"}
KINDS = ("0x03", "0x12")  # of a device: a display or 3D controller, a processing accelerator
HUAWEI_KINDS = ("0x12",)  # its display controllers are those of servers' consoles


def cards_on_bus(root: Path) -> dict[str, list[str]]:
    """The numbers of devices such as 0x2330, by the tool that would tell of them."""
    found: dict[str, list[str]] = {}
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        tool = TOOLS.get(text_of(device / "vendor"))
        kinds = HUAWEI_KINDS if tool == "npu-smi" else KINDS
        if tool and text_of(device / "class").startswith(kinds):
            found.setdefault(tool, []).append(text_of(device / "device"))
    return found
