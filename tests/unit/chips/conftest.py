"""Shapes of two public models and chips that were measured, for every test of this layer."""

from __future__ import annotations

import pytest
from known_shapes import SMOLLM2

from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.chips.shape import Shape


@pytest.fixture(scope="session")
def small() -> Shape:
    """SmolLM2-135M-Instruct, Q4_1; the embedding table is the output head as well."""
    return SMOLLM2


@pytest.fixture(scope="session")
def half() -> Shape:
    """Qwen2.5-Coder-0.5B-Instruct, Q4_K_M, with an output head of its own."""
    return Shape(
        architecture="qwen2",
        layers=24,
        hidden=896,
        heads=14,
        kv_heads=2,
        key_size=64,
        value_size=64,
        feed_forward=4864,
        vocabulary=151_936,
        context_tokens=32_768,
        parameters=630_167_424,
        active_parameters=494_032_768,
        weight_bytes=485_452_288,
        active_bytes=391_859_712,
        quantisation="Q4_K_M",
    )


def _cpu(name: str, bandwidth: float) -> Chip:
    return Chip(
        id=f"cpu-{name}",
        name=name,
        kind="cpu",
        vendor="test",
        cores=2,
        memory_bytes=24 * 10**9,
        memory_free_bytes=20 * 10**9,
        instruction_sets=("avx2",),
        bandwidth=around(bandwidth, "B/s", factor=1.25, source="measured"),
    )


@pytest.fixture(scope="session")
def zen() -> Chip:
    """Two Zen 4 cores that read 60 GB/s."""
    return _cpu("zen4", 60.3e9)


@pytest.fixture(scope="session")
def xeon() -> Chip:
    """Two Sapphire Rapids cores that read 22 GB/s."""
    return _cpu("xeon", 22.5e9)
