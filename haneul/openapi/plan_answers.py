"""What the addresses of planning answer. The planner's own structs would bring its arithmetic into
the gateway's process; a test holds the fields of both together."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from haneul.chips.estimate import Estimate


class PlannedPoint(Struct, kw_only=True):
    """One batch of the curve: tokens a second for a user and for a chip."""

    batch: int
    user_tokens_per_s: float
    chip_tokens_per_s: float


class PlannedLost(Struct, kw_only=True):
    """A way that does not work, and why."""

    chip: str
    kind: str
    layout: str
    why: str
    chips_needed: int | None


class PlannedMoney(Struct, kw_only=True):
    """Money for a million tokens of each kind, and for one request."""

    input: Estimate
    cached: Estimate
    output: Estimate
    request: Estimate


class PlannedMemory(Struct, kw_only=True):
    """Bytes on the fullest chip, and the most users that a deployment holds."""

    weights_bytes: int
    kv_bytes: int
    work_bytes: int
    capacity_bytes: int
    most_users: int


class PlannedOption(Struct, kw_only=True):
    """A way that works; null where a price or a power is not known. Times are seconds."""

    chip: str
    chips: int
    replicas: int
    kind: str
    layout: str
    precision: str
    engine: str
    batch: int
    tokens_per_s: Estimate
    tokens_per_s_per_chip: Estimate
    ttft: Estimate
    tpot: Estimate
    price: PlannedMoney | None
    hour: Estimate | None
    power_w: float | None
    terms: dict[str, float]
    binding: str
    memory: PlannedMemory
    assumptions: list[str]
    deployments: list[dict[str, Any]]
    copies: list[int]


class PlannedChoice(Struct, kw_only=True):
    """The best of each chip and kind, cheapest first, with why it lost."""

    options: list[PlannedOption]
    whys: list[str]
    lost: list[PlannedLost]


class PlannedNear(Struct, kw_only=True):
    """A published measurement beside its forecast; error is forecast over measured, less one."""

    id: str
    model: str
    chips: str
    isl: int
    osl: int
    what: str
    measured: float
    forecast: float
    error: float
    source: str


class PlannedSeen(Struct, kw_only=True):
    """A row of this installation's matrix; speeds in tokens per second."""

    model: str
    parameters: int
    chip: str
    engine: str
    quantisation: str
    decode: float | None
    capacity: float | None
    streams: int | None
    prefill: float | None
    count: int
    measured_by: str
    last_us: int


class PlannedLaunch(Struct, kw_only=True):
    """A line that starts an engine, so many times on so many chips each."""

    role: str
    copies: int
    chips: int
    line: str
    notes: list[str]


class PlanShown(Struct, kw_only=True):
    """A plan; the lists after the choice are of its first option."""

    answer: str
    search: dict[str, Any]
    choice: PlannedChoice
    refused: dict[str, str]
    curve: list[PlannedPoint]
    nearest: list[PlannedNear]
    launch: list[PlannedLaunch]
    assumptions: list[str]
    seen: list[PlannedSeen] = []
