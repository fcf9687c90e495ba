"""Writes a copy of a model file with its weights in another format, for the sake of speed.

    python -m haneul.engine.requantise SOURCE TARGET --type Q4_0

Some kernels do not read every format, and some formats are faster than others on some chips. What
is lost is lost: from 4-bit weights nothing better comes. Matrices change; embeddings and the output
keep 8 bits at least; norms, biases and routers stay as they are. The metadata is kept as it is but
for the file's type, and says from which file the copy was made. A model to keep and to hand on is
made by `haneul.engine.derive`, with llama.cpp's own choice of formats.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from haneul.base.errors import BrokenFile, HaneulError
from haneul.base.gguf import Header, Tensor, check_file
from haneul.engine.derive.ggml import FORMS, Ggml
from haneul.engine.derive.gguf_copy import Plan, Source, Value, head, lay_out, write
from haneul.engine.derive.turn import Turner

FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7}  # general.file_type (llama.h, llama_ftype)
GUARDED = ("token_embd.weight", "output.weight")  # every token passes them: 8 bits at least


def requantise(source: Path, target: Path, kind: str) -> None:
    """Writes the copy; `target` appears whole or not at all.

    `kind`: "Q4_0", "Q8_0" or "F16". Raises BrokenFile for what cannot be read or turned.
    """
    if kind not in FILE_TYPES:
        raise BrokenFile(f"Weights cannot be written as {kind}; {', '.join(FILE_TYPES)} can be.")
    header = check_file(source)
    plans = plan(header, kind)
    opened = Source([source])
    try:
        start = head(
            opened.pairs(),
            plans,
            added=said(kind, made_from=opened.digest()),
            alignment=header.alignment,
        )
        with Ggml() as ggml:
            parts = Turner(ggml, opened).parts
            write(target, start, plans, parts, alignment=header.alignment)
    finally:
        opened.close()


def plan(header: Header, kind: str) -> list[Plan]:
    """The tensors of the copy, in the order of the file."""
    tensors = header.tensors
    return lay_out(((0, one, _kind_for(one, kind)) for one in tensors), header.alignment)


def said(kind: str, *, made_from: str) -> dict[str, Value]:
    """What a copy says of itself beyond its source's metadata."""
    return {
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": 2,
        "haneul.requantised_from": made_from,
    }


def _kind_for(tensor: Tensor, kind: str) -> str:
    is_matrix = len(tensor.dims) > 1 and tensor.name.endswith(".weight")
    if not is_matrix or "ffn_gate_inp" in tensor.name or "_norm" in tensor.name:
        return tensor.type
    if tensor.dims[0] % FORMS[kind].block_weights:
        return "F16"
    return "Q8_0" if kind == "Q4_0" and tensor.name in GUARDED else kind


def main(arguments: list[str]) -> int:
    """The exit code; what went wrong is printed."""
    parser = argparse.ArgumentParser(prog="python -m haneul.engine.requantise")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=sorted(FILE_TYPES), default="Q4_0", dest="kind")
    given = parser.parse_args(arguments)
    try:
        requantise(given.source, given.target, given.kind)
    except HaneulError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The copy cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
