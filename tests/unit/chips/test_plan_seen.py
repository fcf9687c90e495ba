"""Rows of the matrix beside a plan: of like models, of the chips in question first."""

from __future__ import annotations

from msgspec.structs import replace

from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.chips.plan.chipfiles import load_models
from haneul.chips.plan.local import Local, offers
from haneul.chips.plan.options import Demand, Terms
from haneul.chips.plan.seen import Seen, nearest_seen
from haneul.chips.plan.terms import Load

LLAMA = load_models()["Llama-3.1-8B"]
CPU = Chip(
    id="cpu-zen",
    name="Zen",
    kind="cpu",
    vendor="AMD",
    cores=8,
    memory_bytes=64 * 10**9,
    instruction_sets=("avx2",),
    bandwidth=around(60e9, "B/s", factor=1.25, source="measured"),
)
ROW = Seen(
    model="llama3.1:8b",
    parameters=8_030_000_000,
    chip="cpu-zen",
    engine="x",
    quantisation="Q4_K_M",
    decode=9.0,
    capacity=None,
    streams=None,
    prefill=None,
    count=1,
    measured_by="here",
    last_us=1,
)


def test_the_same_chip_and_format_come_first_and_other_sizes_not_at_all():
    local = Local(chip=CPU, terms=Terms(rent=None), power_w=None)
    options, _ = offers(local, LLAMA, Demand(load=Load(isl=10, osl=10)))
    other_chip = replace(ROW, chip="cpu-y")
    other_format = replace(ROW, quantisation="Q8_0")
    half = replace(ROW, parameters=4_000_000_000)
    tiny = replace(ROW, parameters=135_000_000)
    rows = [tiny, other_chip, half, other_format, ROW]
    found = nearest_seen(rows, LLAMA, options, ["cpu-zen"])
    assert found[0] == ROW
    assert set(found[1:]) == {other_format, half}
    assert nearest_seen([tiny], LLAMA, options, ["cpu-zen"]) == []
