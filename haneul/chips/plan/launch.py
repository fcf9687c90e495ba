"""The line that starts an engine as a plan laid it out."""

from __future__ import annotations

import shlex

from haneul.chips.plan.terms import Deployment, Load

MARGIN_TOKENS = 64  # beyond prompt and answer: what a chat's template adds
TRANSFER = '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'


def launch_line(deployment: Deployment, load: Load, *, batch: int, model: str) -> str | None:
    """A line for haneul, vLLM, SGLang or TensorRT-LLM; None for an engine whose line is not known.

    One line starts all chips on one machine; engines that span machines need addresses beside it.
    """
    engine = deployment.engine.lower()
    context = load.isl + load.osl + MARGIN_TOKENS
    each = max(1, -(-batch // deployment.dp))  # sequences that one rank takes
    if engine.startswith("vllm"):
        return shlex.join(_vllm(deployment, model, context, each))
    if engine.startswith("sglang"):
        return shlex.join(_sglang(deployment, model, context, batch))
    if engine.startswith("trt"):
        return shlex.join(_trt(deployment, model, context, each))
    if engine == "haneul":
        return shlex.join(("haneul", "up", model))
    return None


def _vllm(deployment: Deployment, model: str, context: int, batch: int) -> list[str]:
    words = ["vllm", "serve", model, "--tensor-parallel-size", str(deployment.tp)]
    if deployment.pp > 1:
        words += ["--pipeline-parallel-size", str(deployment.pp)]
    if deployment.dp > 1:
        words += ["--data-parallel-size", str(deployment.dp)]
    if deployment.ep > 1:
        words.append("--enable-expert-parallel")
    if deployment.role != "aggregated":
        words += ["--kv-transfer-config", TRANSFER]
    return [*words, "--max-model-len", str(context), "--max-num-seqs", str(batch)]


def _sglang(deployment: Deployment, model: str, context: int, batch: int) -> list[str]:
    words = ["python", "-m", "sglang.launch_server", "--model-path", model]
    words += ["--tp-size", str(deployment.tp * deployment.dp)]
    if deployment.dp > 1:
        words += ["--dp-size", str(deployment.dp)]
        words += ["--enable-dp-attention"] if deployment.model.experts else []
    if deployment.pp > 1:
        words += ["--pp-size", str(deployment.pp)]
    if deployment.ep > 1:
        words += ["--ep-size", str(deployment.ep)]
    if deployment.role != "aggregated":
        words += ["--disaggregation-mode", deployment.role]
    return [*words, "--context-length", str(context), "--max-running-requests", str(batch)]


def _trt(deployment: Deployment, model: str, context: int, batch: int) -> list[str]:
    words = ["trtllm-serve", model, "--tp_size", str(deployment.tp * deployment.dp)]
    if deployment.pp > 1:
        words += ["--pp_size", str(deployment.pp)]
    if deployment.ep > 1:
        words += ["--ep_size", str(deployment.ep)]
    return [*words, "--max_seq_len", str(context), "--max_batch_size", str(batch)]
