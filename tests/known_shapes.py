"""The shape of a public model and a chip to foretell it on, for tests of several layers."""

from __future__ import annotations

from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.chips.shape import Shape

# SmolLM2-135M-Instruct, Q4_1; the embedding table is the output head as well
SMOLLM2 = Shape(
    architecture="llama",
    layers=30,
    hidden=576,
    heads=9,
    kv_heads=3,
    key_size=64,
    value_size=64,
    feed_forward=1536,
    vocabulary=49152,
    context_tokens=8192,
    parameters=134_515_008,
    active_parameters=134_515_008,
    weight_bytes=96_576_768,
    active_bytes=96_576_768,
    quantisation="Q4_1",
)
CHIP = Chip(
    id="cpu-test",
    name="test",
    kind="cpu",
    vendor="test",
    cores=2,
    instruction_sets=("avx2",),
    bandwidth=around(20e9, "B/s", factor=1.25, source="test"),
)
