"""The lines that start engines as a plan laid them out, with what a line alone cannot do.

Each flag stands in the engine's own parser: data/engine_flags.toml says of which version.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files

import msgspec
from msgspec import Struct

from haneul.chips.plan.engine_words import (
    MACHINE_CHIPS_MOST,
    drafts_itself,
    online_quantisation,
    sglang_words,
    speculates,
    trtllm_words,
    vllm_words,
)
from haneul.chips.plan.precision import GGUF_BITS
from haneul.chips.plan.terms import Deployment, Load

MARGIN_TOKENS = 64  # beyond prompt and answer: what a chat's template adds
Words = Callable[..., list[str]]
ENGINES: dict[str, Words] = {"vllm": vllm_words, "sglang": sglang_words, "trt": trtllm_words}
NAMES = {"vllm": "vllm", "sglang": "sglang", "trt": "trtllm"}


class Launch(Struct, frozen=True, kw_only=True):
    """One line, started so many times on so many chips each; notes say what it needs beside it."""

    role: str  # aggregated, prefill or decode
    copies: int
    chips: int  # of each
    line: str
    notes: tuple[str, ...]


class EngineFlags(Struct, frozen=True, forbid_unknown_fields=True):
    """The flags of one engine's parser that lines use, and where they were read."""

    version: str
    source: str
    dated: str
    flags: tuple[str, ...]


def engine_flags() -> dict[str, EngineFlags]:
    """By engine."""
    text = (files("haneul.chips.plan") / "data" / "engine_flags.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, EngineFlags])


def launches(
    deployments: Sequence[Deployment],
    load: Load,
    *,
    copies: Sequence[int],
    batch: int,
    model: str,
) -> tuple[Launch, ...]:
    """A line for each deployment; none for an engine whose line is not known."""
    found = []
    for deployment, many in zip(deployments, copies, strict=True):
        line = launch_line(deployment, load, batch=batch, model=model)
        if line is not None:
            found.append(
                Launch(
                    role=deployment.role,
                    copies=many,
                    chips=deployment.count,
                    line=line,
                    notes=tuple(_notes(deployment, load, model)),
                )
            )
    return tuple(found)


def launch_line(deployment: Deployment, load: Load, *, batch: int, model: str) -> str | None:
    """A line for haneul, vLLM, SGLang or TensorRT-LLM; None for an engine whose line is not known.

    Of a deployment over several machines, the line of the first.
    """
    if deployment.engine == "haneul":
        return shlex.join(("haneul", "up", model))
    engine = _engine(deployment)
    if engine is None:
        return None
    context = load.isl + load.osl + MARGIN_TOKENS
    drafts = math.ceil(load.acceptance)
    return shlex.join(
        ENGINES[engine](deployment, model, context=context, batch=batch, drafts=drafts)
    )


def _engine(deployment: Deployment) -> str | None:
    name = deployment.engine.lower()
    return next((each for each in ENGINES if name.startswith(each)), None)


def _notes(deployment: Deployment, load: Load, model: str) -> Iterator[str]:
    """What is needed beside the line."""
    engine = _engine(deployment)
    if engine is None:
        return
    read = engine_flags()[NAMES[engine]]
    yield f"flags as in {read.source} {read.version}, read {read.dated}"
    if model.endswith(".gguf") and engine == "vllm":
        yield "vLLM reads GGUF files with its plug-in vllm-gguf-plugin and wants --tokenizer"
    elif _is_quantised_elsewhere(deployment, engine):
        yield f"{model} has to be one in {deployment.precision}: it is not made on the way"
    if speculates(load) and not drafts_itself(deployment.model) and engine != "trt":
        yield "DRAFT stands for a model trained to draft for this one"
    if engine == "trt" and (
        speculates(load) or deployment.dp > 1 or deployment.role != "aggregated"
    ):
        yield "attention over ranks, drafting and split roles stand in its --config file"
    machine = deployment.chip.domain_chips
    if deployment.count <= machine:
        return
    if not 1 < machine <= MACHINE_CHIPS_MOST:
        yield "over several machines: how many chips one holds is not known here"
        return
    machines = math.ceil(deployment.count / machine)
    if engine == "vllm" and deployment.dp > 1:
        yield (
            f"over {machines} machines: HEAD is the first; the others add --headless and "
            f"--data-parallel-start-rank {machine // deployment.tp}, and so on"
        )
    else:
        yield f"on each of {machines} machines, RANK 0 to {machines - 1}; HEAD is the first"


def _is_quantised_elsewhere(deployment: Deployment, engine: str) -> bool:
    """Whether the weights are asked in fewer bits than published, and the engine makes them not."""
    if deployment.precision in (deployment.model.native, "bf16", "fp16"):
        return False
    if deployment.precision in GGUF_BITS:
        return deployment.model.native not in GGUF_BITS
    return online_quantisation(deployment, engine) is None
