"""The process that holds the genuine llama-server: `python -m haneul.engine.llama_server SPEC`.

A process of its own, because loading a model holds Python's interpreter lock for seconds, and so
that a crash in native code leaves the front able to say what happened. One JSON line on standard
output tells that the model is loaded; then the process only waits to be killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec
import xllamacpp

from haneul.base.lifeline import die_with_parent
from haneul.engine.llama_server.spec import Spec
from haneul.engine.protect import protect


def parameters(spec: Spec) -> xllamacpp.CommonParams:
    """llama-server's settings: each that differs from its default is here for a reason."""
    p = xllamacpp.CommonParams()
    p.model.path = spec.file
    p.hostnames = [spec.socket]  # a path that ends in .sock is a Unix socket
    p.n_parallel = spec.slots
    p.n_ctx = spec.context_tokens * spec.slots
    p.kv_unified = False  # each sequence owns its context: no neighbour can take its cells
    p.fit_params = False  # the context is what was asked for, never silently less
    p.n_batch = p.n_ubatch = spec.batch_tokens  # a hang-up is seen between two batches
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = spec.threads
    p.cache_ram_mib = 0  # no second cache beside the slots: memory stays what was planned
    p.prefill_assistant = False  # OpenAI: a last assistant message is history, not a beginning
    p.sse_ping_interval = -1
    p.endpoint_metrics = True
    p.ui = False
    p.verbosity = 1  # errors only
    if spec.pooling:
        p.embedding = True
        name = f"LLAMA_POOLING_TYPE_{spec.pooling.upper()}"
        p.pooling_type = getattr(xllamacpp.llama_pooling_type, name)
    return p


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    die_with_parent(spec.parent)
    protect()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the front, which kills us
    Path(spec.socket).unlink(missing_ok=True)  # of one that was killed
    try:
        server = xllamacpp.Server(parameters(spec))
    except RuntimeError as cause:
        print(msgspec.json.encode({"error": str(cause)}).decode(), flush=True)
        os._exit(3)
    print(msgspec.json.encode({"ready": server.listening_address}).decode(), flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
