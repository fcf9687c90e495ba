"""Which ways there are to spread a model over chips of one kind."""

from __future__ import annotations

from collections.abc import Iterator

from haneul.chips.plan.terms import Deployment, PlanChip, PlanModel, Role

TENSOR = (1, 2, 4, 8, 16)
STAGES = (2, 4)  # of pipelines, only where one domain is too small
WIDE = (4, 8, 16, 32, 64, 72, 128, 144, 256, 320, 384)  # chips that share a mixture's experts
COUNT_MOST = 64  # chips of one replica, unless a domain is larger or a number is told


def layouts(
    model: PlanModel,
    chip: PlanChip,
    *,
    precision: str = "",
    engine: str = "vllm",
    role: Role = "aggregated",
    count_most: int | None = None,
    kv_bits: int | None = None,
) -> Iterator[Deployment]:
    """Every deployment worth asking about, small ones first; whether it fits is not asked yet.

    Matrices are split inside a domain, where links are fast; experts and stages also beyond it.
    """
    most = count_most or max(COUNT_MOST, chip.domain_chips)
    splits = [degree for degree in TENSOR if degree <= min(chip.domain_chips, most)]
    splits = [degree for degree in splits if model.heads % degree == 0] or [1]
    shapes = [(tp, tp if model.experts else 1, 1, 1) for tp in splits]
    widest = splits[-1]
    shapes += [
        (widest, widest if model.experts else 1, pp, 1) for pp in STAGES if pp <= model.layers
    ]
    if model.experts:
        shapes += [(1, wide, 1, wide) for wide in WIDE if wide <= model.experts * 2]
    for tp, ep, pp, dp in shapes:
        if tp * pp * dp <= most:
            yield Deployment(
                model=model,
                chip=chip,
                count=tp * pp * dp,
                tp=tp,
                ep=ep,
                pp=pp,
                dp=dp,
                precision=precision or model.native,
                kv_bits=kv_bits,
                engine=engine,
                role=role,
            )


def layout_text(deployment: Deployment) -> str:
    """How it is split, in a word: 'TP1', 'TP8 PP2', 'DP32 EP32'."""
    parts = (("TP", deployment.tp), ("PP", deployment.pp), ("DP", deployment.dp))
    named = [f"{name}{degree}" for name, degree in parts if degree > 1]
    if deployment.dp > 1 and deployment.ep > 1:
        named.append(f"EP{deployment.ep}")
    return " ".join(named) or "TP1"
