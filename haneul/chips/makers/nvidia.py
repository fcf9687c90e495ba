"""NVIDIA's cards, through nvidia-smi: four figures of each, and the parts that MIG makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from haneul.chips.makers.card import MIB, Card, number_of, size_of

CARDS = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free,power.limit",
    "--format=csv,noheader,nounits",
)
PARTS = ("nvidia-smi", "-L")
# Chips that have no memory of their own; of them the tool says N/A or an aperture of it.
UNIFIED = re.compile(r"\b(gb10|n1x|orin|thor|xavier|tegra|nvgpu)\b", re.IGNORECASE)
CARD = re.compile(r"GPU ([0-9]{1,4}): (.+?)(?: \(UUID: .*)?$")
PART = re.compile(r"\s+MIG (?:([0-9])c\.)?([0-9])g\.([0-9]{1,4})gb(\S*)\s+Device\s+[0-9]+:")
COMPUTE_PARTS, MEMORY_PARTS = 7, 8  # of a card that MIG divides, A100 and later


def find(run: Callable[[Sequence[str]], str]) -> list[Card]:
    """The cards, and in place of a card that MIG divides its parts."""
    cards = parse_cards(run(CARDS))
    if not cards or not any(can_divide(card) for card in cards):
        return cards
    return divided(cards, run(PARTS))


def can_divide(card: Card) -> bool:
    """Whether MIG may have divided it: only chips of data centres and their like can be."""
    return bool(re.search(r"\b(A30|A100|H\d+|GH\d+|B\d+|GB\d+|RTX PRO)\b", card.name))


def parse_cards(text: str) -> list[Card]:
    """Lines of 'name, total MiB, free MiB, limit W'; what a card does not tell stays None."""
    cards = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4 and cells[0]:
            name, total, free, limit = cells
            is_unified = bool(UNIFIED.search(name))
            cards.append(
                Card(
                    name=name,
                    memory_bytes=None if is_unified else _mib(total),
                    memory_free_bytes=None if is_unified else _mib(free),
                    power_w=number_of(limit),
                    is_unified=is_unified,
                )
            )
    return cards


def divided(cards: Sequence[Card], text: str) -> list[Card]:
    """The cards with each that 'nvidia-smi -L' shows divided replaced by its parts.

    A part has what its profile says: 1g.10gb is one of seven parts of the units and 10 GiB.
    """
    parts: dict[int, list[re.Match[str]]] = {}
    index = -1
    for line in text.splitlines():
        card, part = CARD.match(line), PART.match(line)
        if card:
            index = int(card[1])
        elif part and index >= 0:
            parts.setdefault(index, []).append(part)
    return [
        each
        for index, card in enumerate(cards)
        for each in ([_part(card, found) for found in parts[index]] if index in parts else [card])
    ]


def _part(card: Card, found: re.Match[str]) -> Card:
    units, gigabytes = int(found[1] or found[2]), int(found[3])
    memory = gigabytes << 30
    channels = min(MEMORY_PARTS, units)
    if card.memory_bytes:
        channels = max(1, round(memory / card.memory_bytes * MEMORY_PARTS))
    slots = f"{found[1]}c." if found[1] else ""
    return Card(
        name=f"{card.name} MIG {slots}{found[2]}g.{gigabytes}gb{found[4]}",
        memory_bytes=memory,
        memory_free_bytes=None,  # the tool tells it of the whole card alone
        power_w=None,
        whole=card.name,
        compute_share=min(1.0, units / COMPUTE_PARTS),
        bandwidth_share=min(1.0, channels / MEMORY_PARTS),
    )


def _mib(text: str) -> int | None:
    count = size_of(text)
    return None if count is None else count * MIB
