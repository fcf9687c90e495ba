"""OpenVINO's continuous batching pipeline over one file: how it is opened, whether it is sane."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai

from haneul.base.gguf import Header
from haneul.engine.openvino.blocks import BLOCK_TOKENS
from haneul.engine.openvino.prepared import default_folder, prepare, reason
from haneul.engine.openvino.readable import Measures
from haneul.engine.openvino.sampling import slice_settings
from haneul.engine.worker.job import WorkerSpec
from haneul.engine.worker.stepper import CannotServe

BATCH_TOKENS = 2048  # the most one step may compute; how many it does is decided by time
LOOKUP_STEP_TOKENS = 256  # with prompt lookup, where a step cannot be cut by time
DRAFT_TOKENS = 8
FREE_SHARE = 0.8  # of the memory that is free, at most, for the cache
BYTES = {"u4": 0.5, "u8": 1.0, "": 1.0, "bf16": 2.0, "f16": 2.0, "f32": 4.0}  # "": of the plugin
SMOKE_TEXT = "The sun rises in the east and sets in the west. Water boils at one hundred degrees."
SMOKE_SLACK = 1.0  # nats above blind guessing: what still counts as a model


class Settings:
    """What tuning may choose, from WorkerSpec.options. Raises CannotServe for other words."""

    def __init__(self, options: dict[str, Any]) -> None:
        known = dict(options)
        self.precision = str(known.pop("precision", ""))
        self.kv_precision = str(known.pop("kv_precision", ""))
        self.threads = int(known.pop("threads", 0))
        self.group = known.pop("dynamic_quantisation_group", None)
        self.has_lookup = bool(known.pop("lookup", False))
        self.batch_tokens = int(known.pop("batch_tokens", BATCH_TOKENS))
        self.folder = Path(known.pop("folder", None) or default_folder())
        if known:
            raise CannotServe(f"The kernel openvino has no option {', '.join(sorted(known))}.")

    def properties(self, threads: int, *, kv_precision: str) -> dict[str, Any]:
        """Under OpenVINO's own names."""
        given: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        given["INFERENCE_NUM_THREADS"] = self.threads or threads
        given["sampler_num_threads"] = self.threads or threads
        if self.precision:
            given["INFERENCE_PRECISION_HINT"] = self.precision
        if kv_precision:
            given["KV_CACHE_PRECISION"] = kv_precision
        if self.group is not None:
            given["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = int(self.group)
        if self.has_lookup:
            given["prompt_lookup"] = True
        return given


def block_count(spec: WorkerSpec) -> int:
    """Blocks for every place to be full, and one more each that is begun."""
    return spec.slots * (-(-spec.context_tokens // BLOCK_TOKENS) + 1)


def step_tokens(spec: WorkerSpec, settings: Settings) -> int:
    """The most tokens that one step computes."""
    if settings.has_lookup:
        return max(LOOKUP_STEP_TOKENS, spec.slots * (DRAFT_TOKENS + 1))
    return max(settings.batch_tokens, spec.slots + BLOCK_TOKENS * 4)


def open_pipeline(spec: WorkerSpec, settings: Settings, header: Header, found: Measures) -> Any:
    """The pipeline, loaded. Raises CannotServe when it does not load."""
    file = Path(spec.file)
    blocks = block_count(spec)
    kv_precision = _kv_precision(blocks, settings, found)
    plan = genai.SchedulerConfig()
    plan.num_kv_blocks = blocks
    plan.cache_size = 0
    # a draft that is refused leaves its key in the cache (openvino.genai 2026.4, remove_last_tokens
    # keeps m_prefix_hashes), and a later prompt would find another text's block under it
    plan.enable_prefix_caching = not settings.has_lookup
    plan.dynamic_split_fuse = True
    plan.max_num_batched_tokens = step_tokens(spec, settings)
    properties = settings.properties(spec.threads, kv_precision=kv_precision)
    folder = prepare(file, header, settings.folder)
    try:
        return genai.ContinuousBatchingPipeline(str(folder), plan, "CPU", properties, {})
    except RuntimeError:
        shutil.rmtree(folder, ignore_errors=True)  # perhaps only what was kept is damaged
    folder = prepare(file, header, settings.folder)
    try:
        return genai.ContinuousBatchingPipeline(str(folder), plan, "CPU", properties, {})
    except RuntimeError as cause:
        raise CannotServe(f"OpenVINO does not load this model: {reason(cause, file)}") from cause


def strangeness(pipeline: Any, tokens: list[int], *, draft_tokens: int = 0) -> float:
    """Mean negative log-probability of a new text's tokens after its first, in nats."""
    given = slice_settings(draft_tokens=draft_tokens)
    given.echo = True
    given.logprobs = 1
    handle = pipeline.add_request(1, as_input(tokens), given)
    scores: list[float] = []
    while pipeline.has_non_finished_requests():
        pipeline.step()
        while handle.can_read():
            for output in handle.read().values():
                scores += output.generated_log_probs
    return -sum(scores[1 : len(tokens)]) / (len(tokens) - 1)


def check_sanity(pipeline: Any, tokens: list[int], *, rows: int, draft_tokens: int) -> None:
    """Reads a plain sentence; a kernel that finds it stranger than chance is not trusted.

    Raises CannotServe.
    """
    found = strangeness(pipeline, tokens, draft_tokens=draft_tokens)
    if not found <= math.log(rows) + SMOKE_SLACK:  # which is true of no number also
        raise CannotServe(f"OpenVINO computes nonsense for this model ({found:.1f} nats a token).")


def as_input(tokens: list[int]) -> openvino.Tensor:
    """One sequence as the pipeline takes it."""
    return openvino.Tensor(np.array([tokens], dtype=np.int64))


def _kv_precision(blocks: int, settings: Settings, found: Measures) -> str:
    """What keys and values are kept in: as asked, else bf16 where this processor computes in it.

    The plugin's own choice is a byte per number, which is turned back at each look: behind 800
    tokens eight streams take 15 % more processor time with it. It is left to the plugin where bf16
    does not fit into memory. Raises CannotServe where nothing fits.
    """
    numbers = blocks * BLOCK_TOKENS * 2 * found.layers * found.kv_heads * found.head_width
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    wanted = [settings.kv_precision]
    if not settings.kv_precision and settings.precision in ("", "bf16") and _computes_in_bf16():
        wanted = ["bf16", ""]
    for name in wanted:
        if BYTES.get(name, max(BYTES.values())) * numbers <= free * FREE_SHARE:
            return name
    needed = BYTES.get(wanted[-1], max(BYTES.values())) * numbers
    raise CannotServe(
        f"The cache for every place would take {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are"
        " free. Fewer places or a shorter context would fit."
    )


def _computes_in_bf16() -> bool:
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
