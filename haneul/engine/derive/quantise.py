"""One model file as another of fewer bits: `quantise(...)`.

From whole numbers of few bits nothing better comes, and each further rounding loses more: that a
parent has been rounded before is asked for by name, and stands in the copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from haneul.base.deriving import Made
from haneul.base.errors import BadRequest, BrokenFile
from haneul.base.gguf import Header, Tensor
from haneul.engine.derive.ggml import FORMS, WRITTEN, Floats, Ggml
from haneul.engine.derive.gguf_copy import OnTensor, Source, Value, head, lay_out, write
from haneul.engine.derive.mix import (
    BITS,
    MAIN,
    PLAIN,
    TYPE_NUMBERS,
    about,
    choose,
    in_order,
    is_turned,
    needs_importance,
)
from haneul.engine.derive.turn import Turner

ALIGNMENT = 32  # what engines expect where a file says nothing


def quantise(
    sources: Sequence[Path],
    target: Path,
    file_type: str,
    *,
    made_from: str = "",
    importance: Mapping[str, Floats] | None = None,
    is_lossy_allowed: bool = False,
    threads: int = 1,
    on_tensor: OnTensor | None = None,
) -> Made:
    """Writes the copy in a type such as "Q4_K_M"; `target` appears whole or not at all.

    `made_from`: the parent's SHA-256, if it is known; else it is read. Raises BadRequest for a
    parent that is lossy without leave or an importance matrix that is missing, and BrokenFile.
    """
    source = Source(sources)
    try:
        check(source.header)
        lossy = rounded(source.tensors)
        if lossy and not is_lossy_allowed:
            raise BadRequest(
                f"The parent is in {lossy} already: rounding it again loses more than the type "
                "says. Take its F16, BF16 or safetensors form, or allow it with --from-lossy."
            )
        model = about(source.header, source.tensors, is_weighed=bool(importance))
        kinds = choose(model, source.tensors, file_type)
        _check_importance(source.tensors, kinds, file_type, importance or {})
        places = source.places()
        ordered = in_order(source.tensors)
        plans = lay_out(((places[one.name], one, kinds[one.name]) for one in ordered), ALIGNMENT)
        digest = made_from or source.digest()
        added: dict[str, Value] = {
            "general.file_type": TYPE_NUMBERS[file_type],
            "general.quantization_version": 2,
            "general.alignment": ALIGNMENT,
            "haneul.derived_from": digest,
            "haneul.derived_by": "quantize",
        }
        if lossy:
            added["haneul.lossy_parent"] = lossy
        start = head(source.pairs(), plans, added=added, alignment=ALIGNMENT)
        with Ggml(threads=threads) as ggml:
            turner = Turner(ggml, source, importance=importance)
            work = "quantize"
            write(
                target,
                start,
                plans,
                turner.parts,
                alignment=ALIGNMENT,
                on_tensor=on_tensor,
                resumes=work,
            )
    finally:
        source.close()
    weighed = sum(
        plan.kind != plan.source.type and plan.source.name in (importance or {}) for plan in plans
    )
    return Made(
        bytes=target.stat().st_size,
        formats=dict(Counter(plan.kind for plan in plans)),
        lossy_parent=lossy,
        weighed=weighed,
        architecture=model.architecture,
        file_type=file_type,
    )


def check(header: Header) -> None:
    """Raises BrokenFile for what is no model that can be turned."""
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or not isinstance(header.metadata.get("general.architecture"), str):
        raise BrokenFile("The file is no model with a named architecture.")


def rounded(tensors: Sequence[Tensor]) -> str:
    """The format of fewest bits that the matrices were rounded to; "": to none."""
    kinds = {one.type for one in tensors if is_turned(one) and one.type not in (*PLAIN, "F64")}
    return min(kinds, key=lambda kind: BITS[kind], default="")


def _check_importance(
    tensors: Sequence[Tensor],
    kinds: Mapping[str, str],
    file_type: str,
    importance: Mapping[str, Floats],
) -> None:
    for tensor in tensors:
        kind = kinds[tensor.name]
        if kind == tensor.type:
            continue
        if kind not in WRITTEN or tensor.type not in FORMS:
            raise BrokenFile(f"{tensor.name} cannot be turned from {tensor.type} into {kind}.")
        if needs_importance(tensor.name, kind, file_type) and tensor.name not in importance:
            raise BadRequest(
                f"{file_type} is worthless without an importance matrix (for {tensor.name}): "
                "measure one with --importance measure, or give its file."
            )


def known(name: str) -> str:
    """A file type as it is written; the two ways of case are one. Raises BadRequest."""
    found = name.upper().replace("-", "_")
    if found not in MAIN:
        raise BadRequest(f"There is no file type {name[:40]!r}: {', '.join(MAIN)} are made here.")
    return found
