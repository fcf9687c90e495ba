"""What three engines call the parts of a layout: one function each, words of a command line."""

from __future__ import annotations

import math

import msgspec

from haneul.chips.plan.terms import Deployment, Load, PlanModel

MACHINE_CHIPS_MOST = 16  # a larger domain is a rack of many machines
PORT = "13345"
ROLES = {"prefill": "kv_producer", "decode": "kv_consumer"}
# From 16 bits to fewer while loading; other precisions want a repository that has them.
ONLINE = {
    "vllm": {"fp8": "fp8_per_tensor", "int8": "int8_per_channel_weight_only"},
    "sglang": {"fp8": "fp8", "nvfp4": "nvfp4_online"},
}
# Families published with layers that draft (multi-token prediction), by their config.json.
DRAFTING = (
    *("deepseek-v3", "deepseek-r1", "deepseek-v4"),
    *("glm-4.5", "glm-4.6", "glm-5", "qwen3-next", "qwen3.5"),
)
NARROW_CACHE = {"vllm": "fp8", "sglang": "fp8_e4m3"}


def speculates(load: Load) -> bool:
    """Whether steps are to gain tokens by drafting."""
    return load.acceptance > 0


def drafts_itself(model: PlanModel) -> bool:
    """Whether its makers publish layers with it that draft."""
    return model.name.rpartition("/")[2].lower().startswith(DRAFTING)


def online_quantisation(deployment: Deployment, engine: str) -> str | None:
    """What the engine calls making these weights while it loads; None where it does not."""
    if deployment.model.native != "bf16":
        return None
    return ONLINE.get(engine, {}).get(deployment.precision)


def vllm_words(
    deployment: Deployment, model: str, *, context: int, batch: int, drafts: int
) -> list[str]:
    """vLLM; a rank of data-parallel attention takes its part of the batch."""
    words = ["vllm", "serve", model, "--tensor-parallel-size", str(deployment.tp)]
    if deployment.pp > 1:
        words += ["--pipeline-parallel-size", str(deployment.pp)]
    if deployment.dp > 1:
        words += ["--data-parallel-size", str(deployment.dp)]
    machines = _machines(deployment)
    if machines > 1 and deployment.dp > 1:
        local = deployment.chip.domain_chips // (deployment.tp * deployment.pp)
        words += ["--data-parallel-size-local", str(local)]
        words += ["--data-parallel-address", "HEAD", "--data-parallel-rpc-port", PORT]
    elif machines > 1:
        words += ["--nnodes", str(machines), "--node-rank", "RANK", "--master-addr", "HEAD"]
    if deployment.ep > 1:
        words.append("--enable-expert-parallel")
    words += _quantised(deployment, "vllm")
    if drafts:
        words += ["--speculative-config", _json(_drafting(deployment, drafts))]
    if deployment.role != "aggregated":
        role = {"kv_connector": "NixlConnector", "kv_role": ROLES[deployment.role]}
        words += ["--kv-transfer-config", _json({**role, "kv_load_failure_policy": "fail"})]
    words += ["--max-model-len", str(context)]
    each = max(1, math.ceil(batch / deployment.dp))
    return words if deployment.role == "prefill" else [*words, "--max-num-seqs", str(each)]


def sglang_words(
    deployment: Deployment, model: str, *, context: int, batch: int, drafts: int
) -> list[str]:
    """SGLang, whose attention groups lie inside the tensor-parallel group."""
    words = ["python", "-m", "sglang.launch_server", "--model-path", model]
    words += ["--tp-size", str(deployment.tp * deployment.dp)]
    if deployment.dp > 1:
        words += ["--attn-dp-size", str(deployment.dp)]
    if deployment.pp > 1:
        words += ["--pp-size", str(deployment.pp)]
    if deployment.ep > 1:
        words += ["--ep-size", str(deployment.ep)]
    machines = _machines(deployment)
    if machines > 1:
        words += ["--nnodes", str(machines), "--node-rank", "RANK"]
        words += ["--dist-init-addr", f"HEAD:{PORT}"]
    words += _quantised(deployment, "sglang")
    if drafts:
        own = drafts_itself(deployment.model)
        words += ["--speculative-algorithm", "NEXTN" if own else "EAGLE3"]
        words += [] if own else ["--speculative-draft-model-path", "DRAFT"]
        words += ["--speculative-num-steps", str(drafts), "--speculative-eagle-topk", "1"]
        words += ["--speculative-num-draft-tokens", str(drafts + 1)]
    if deployment.role != "aggregated":
        words += ["--disaggregation-mode", deployment.role]
    words += ["--context-length", str(context)]
    if deployment.role == "prefill":  # the batch is of the decoding ones
        return words
    return [*words, "--max-running-requests", str(batch)]


def trtllm_words(
    deployment: Deployment, model: str, *, context: int, batch: int, drafts: int
) -> list[str]:
    """TensorRT-LLM; attention over ranks and drafting are no flags of its."""
    words = ["trtllm-serve", model, "--tp_size", str(deployment.tp * deployment.dp)]
    if deployment.pp > 1:
        words += ["--pp_size", str(deployment.pp)]
    if deployment.ep > 1:
        words += ["--ep_size", str(deployment.ep)]
    each = max(1, math.ceil(batch / deployment.dp))
    return [*words, "--max_seq_len", str(context), "--max_batch_size", str(each)]


def _quantised(deployment: Deployment, engine: str) -> list[str]:
    """Weights made narrower while loading, and a cache that was asked for in 8 bits."""
    words = []
    scheme = online_quantisation(deployment, engine)
    if scheme is not None:
        words += ["--quantization", scheme]
    if deployment.kv_bits == 8:
        words += ["--kv-cache-dtype", NARROW_CACHE[engine]]
    return words


def _drafting(deployment: Deployment, drafts: int) -> dict[str, str | int]:
    """With layers of its own (MTP), or with another model."""
    if drafts_itself(deployment.model):
        return {"method": "mtp", "num_speculative_tokens": drafts}
    return {"method": "eagle3", "model": "DRAFT", "num_speculative_tokens": drafts}


def _machines(deployment: Deployment) -> int:
    """How many machines it spans, where it is known how many chips one holds; else 1."""
    machine = deployment.chip.domain_chips
    if not 1 < machine <= MACHINE_CHIPS_MOST:
        return 1
    return math.ceil(deployment.count / machine)


def _json(value: dict[str, str | int]) -> str:
    return msgspec.json.encode(value).decode()
