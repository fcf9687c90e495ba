"""Huawei's cards, through the table of 'npu-smi info'."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from haneul.chips.makers.card import MIB, Card, left

INFO = ("npu-smi", "info")
TWO_DIES = "Ascend 910C"  # of a card that the tool names Ascend910, and shows as two chips


def find(run: Callable[[Sequence[str]], str]) -> list[Card]:
    """The chips; the two dies of one package count as one, as makers and papers count them."""
    return parse_npu_smi(run(INFO))


def parse_npu_smi(text: str) -> list[Card]:
    """Two rows a chip: its name, then its memory used / total in MB, of HBM the last column.

    Older cards have no HBM and keep one column of memory. A table of processes has more cells.
    """
    cards: list[tuple[str, Card]] = []
    name = number = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3:
            continue
        head = re.fullmatch(r"(\d+)\s+(\S+)", cells[0])
        memory = re.search(r"([0-9]{1,9})\s*/\s*([0-9]{1,9})$", cells[2])
        # A second row may be two numbers, as a first may be: its bus tells them apart.
        if head and not re.fullmatch(r"[0-9A-Fa-fx]{4}:[0-9A-Fa-fx:.]+|NA", cells[1]):
            number, name = head[1], head[2]
        elif name and memory and re.fullmatch(r"\d+(\s+\d+)*", cells[0]):
            used, total = int(memory[1]) * MIB, int(memory[2]) * MIB
            if total:
                plain = name if name.lower().startswith("ascend") else f"Ascend {name}"
                cards.append((number, Card(plain, total, left(total, used), None)))
    return _packages(cards)


def _packages(cards: list[tuple[str, Card]]) -> list[Card]:
    """A card named Ascend910 that has two dies is one 910C with the memory of both."""
    found: list[Card] = []
    for number in dict.fromkeys(number for number, _ in cards):
        dies = [card for of, card in cards if of == number]
        if len(dies) == 2 and all(die.name == "Ascend910" for die in dies):
            whole = sum(die.memory_bytes or 0 for die in dies)
            free = sum(die.memory_free_bytes or 0 for die in dies)
            dies = [replace(dies[0], name=TWO_DIES, memory_bytes=whole, memory_free_bytes=free)]
        found += dies
    return found
