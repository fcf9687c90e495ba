"""The memory of a deployment: weights as they are split, what is kept of every user, the rest."""

from __future__ import annotations

import math

from haneul.base.errors import NotEnoughMemory, UnsupportedValue
from haneul.chips.plan.precision import precision_of
from haneul.chips.plan.step import cache_bytes
from haneul.chips.plan.terms import Deployment, Load, Memory

USABLE = 0.9  # of a chip's memory: the rest is the driver's, the allocator's and the graphs'
WORK_BYTES = 1.5e9  # of activations and communication, at least
WORK_TOKENS = 8192  # of a prompt that is computed at once


def weight_bytes(deployment: Deployment) -> float:
    """Of the fullest chip: dense parts are split tp ways, experts over all chips of a stage."""
    model, precision = deployment.model, precision_of(deployment)
    bits = precision.always_bits if model.experts else precision.dense_bits
    table_bits = min(16.0, bits) if bits not in (4.5, 8.0) else 16.0
    chips = deployment.tp * (deployment.dp if model.experts else 1)
    dense = model.always_parameters * bits + model.table_parameters * table_bits
    experts = model.expert_parameters * precision.expert_bits
    return (dense / deployment.tp + experts / chips) / 8 / deployment.pp


def memory(deployment: Deployment, load: Load, *, batch: int | None = None) -> Memory:
    """What the fullest chip holds of so many sequences (None: of none), and the most there can be.

    Raises UnsupportedValue where the chip's memory is unknown.
    """
    chip, model = deployment.chip, deployment.model
    if chip.memory_gb is None:
        raise UnsupportedValue(f"The memory of {chip.name} is unknown: no fit is forecast.")
    capacity = chip.memory_gb * 2**30 * USABLE  # data sheets say GB and mean GiB
    weights = weight_bytes(deployment)
    work = min(WORK_BYTES, 0.1 * capacity) + WORK_TOKENS * model.hidden * 2 * 4 / deployment.tp
    split = 1 if model.is_latent else min(deployment.tp, max(1, model.kv_heads))
    tokens = load.isl + load.osl if load.batch or load.is_static else load.isl + load.osl * 0.75
    each = cache_bytes(deployment, tokens) / split / deployment.pp
    free = capacity - weights - work
    most = int(free // each) * deployment.dp if free > 0 and each > 0 else 0
    of_rank = math.ceil((batch or 0) / deployment.dp)
    return Memory(
        weights_bytes=round(weights),
        kv_bytes=round(each * of_rank),
        work_bytes=round(work),
        capacity_bytes=round(capacity),
        most_users=most,
    )


def refuse_unless_it_fits(deployment: Deployment, found: Memory) -> None:
    """Raises NotEnoughMemory with the reason where not one sequence has room."""
    if found.most_users >= 1:
        return
    need = (found.weights_bytes + found.work_bytes) / 1e9
    raise NotEnoughMemory(
        f"{deployment.model.name} in {deployment.precision} does not fit {deployment.count} x "
        f"{deployment.chip.name}: {need:.0f} GB and the context of one user are needed of "
        f"{found.capacity_bytes / 1e9:.0f} GB usable on each."
    )
