"""From the shape of a model to what a plan counts: what every token meets, and what a few do."""

from __future__ import annotations

from haneul.chips.plan.terms import PlanModel
from haneul.chips.shape import Layers, Shape, remembering

LATENT_KEY_SIZE = 512  # one shared key this wide is a compressed cache (MLA)
NATIVE = {"FP8": "fp8", "FP4": "fp4", "MXFP4": "mxfp4", "INT4": "int4"}
PRECISIONS = {  # how a file says it -> how a plan does
    "F16": "bf16",
    "F32": "bf16",
    "Q8_0": "q8_0",
}


def plan_model(
    name: str, shape: Shape, *, is_tied: bool = False, attended_most: int = 0
) -> PlanModel:
    """The model of a Shape, from a config.json or a GGUF header alike.

    Routed experts follow from all and active parameters: those left out are 1 - used/all of them.
    """
    idle = shape.parameters - shape.active_parameters
    is_mixed = 0 < shape.experts_used < shape.experts
    experts = round(idle / (1 - shape.experts_used / shape.experts)) if is_mixed else 0
    tables = 0 if is_tied else shape.vocabulary * shape.hidden
    return PlanModel(
        name=name,
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=shape.kv_heads or shape.heads,
        key_size=shape.key_size,
        value_size=shape.value_size,
        context_tokens=shape.context_tokens,
        parameters=shape.parameters,
        active_parameters=shape.active_parameters,
        table_parameters=tables,
        always_parameters=max(0, shape.parameters - experts - tables),
        expert_parameters=experts,
        head_parameters=shape.vocabulary * shape.hidden,
        experts=shape.experts if is_mixed else 0,
        experts_used=shape.experts_used if is_mixed else 0,
        attended_most=attended_most,
        is_latent=shape.kv_heads == 1 and shape.key_size >= LATENT_KEY_SIZE,
        native=_native(shape.quantisation),
        memory=remembering(shape),
    )


def typical_model(name: str, *, parameters: float, active_parameters: float) -> PlanModel:
    """A model of which only the sizes are known, built as most of its size are (assumed)."""
    size = max(active_parameters, 1e6)
    layers = max(12, min(126, round(9.5 * (parameters / 1e9) ** 0.45)))
    hidden = max(512, round((size / (12 * layers)) ** 0.5 / 128) * 128)
    is_mixed = active_parameters < 0.9 * parameters
    shape = Shape(
        architecture="unknown",
        layers=layers,
        hidden=hidden,
        heads=max(8, hidden // 128),
        kv_heads=8,
        key_size=128,
        value_size=128,
        feed_forward=4 * hidden,
        vocabulary=128_000,
        context_tokens=131_072,
        parameters=round(parameters),
        active_parameters=round(active_parameters),
        weight_bytes=round(2 * parameters),
        active_bytes=round(2 * active_parameters),
        quantisation="BF16",
        experts=128 if is_mixed else 0,
        experts_used=8 if is_mixed else 0,
        memory=(Layers(count=layers, numbers=2048),),
    )
    return plan_model(name, shape, is_tied=True)


def _native(quantisation: str) -> str:
    if quantisation in NATIVE:
        return NATIVE[quantisation]
    return PRECISIONS.get(quantisation, quantisation.lower())
