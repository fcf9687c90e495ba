"""Scaled rotation (rope scaling), which OpenVINO's reader takes no notice of: put into its graph.

Two ways are exact there, because they only divide frequencies: the factors of Llama 3.1 and later,
which a file holds as a tensor, and linear scaling by one factor. YaRN and LongRoPE also scale what
attention sees, and change with the length of a text; they are refused.
Source: llama.cpp, llama-model.cpp and ggml's rope; held equal to it by a test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import opset13

from haneul.base.gguf import Header
from haneul.engine.worker.stepper import CannotServe

FACTORS = "rope_freqs.weight"
FACTORED = frozenset({"llama"})  # architectures whose factors llama.cpp heeds
SCALINGS = frozenset({"none", "linear"})
Floats = NDArray[np.float32]


def check_rotation(header: Header, head_width: int) -> None:
    """Raises CannotServe for a rotation that the graph cannot have."""
    architecture = header.metadata["general.architecture"]
    scaling = header.metadata.get(f"{architecture}.rope.scaling.type", "linear")
    if scaling not in SCALINGS:
        raise CannotServe(f"OpenVINO's reader takes no notice of scaled rotation ({scaling}).")
    if not isinstance(_factor(header), float | int):
        raise CannotServe("The factor of scaled rotation is not a number.")
    turned = header.metadata.get(f"{architecture}.rope.dimension_count", head_width)
    if turned != head_width:
        raise CannotServe("OpenVINO's reader takes no notice of partial rotation.")
    for tensor in header.tensors:
        if tensor.name == FACTORS and (
            architecture not in FACTORED
            or tensor.type != "F32"
            or tensor.dims != (head_width // 2,)
        ):
            raise CannotServe(f"OpenVINO's reader takes no notice of {FACTORS}.")


def rotate(model: Any, *, file: Path, header: Header) -> None:
    """Divides the graph's frequencies as the file wants it. Raises CannotServe."""
    by = _divisors(file, header)
    if by is None:
        return
    constant, user = _frequencies(model)
    plain = constant.get_data().reshape(-1)
    architecture = header.metadata["general.architecture"]
    base = float(header.metadata.get(f"{architecture}.rope.freq_base", 10_000.0))  # type: ignore[arg-type]
    expected = base ** (-np.arange(len(plain)) / len(plain))
    if not np.allclose(plain, expected, rtol=1e-4, atol=0):
        raise CannotServe("OpenVINO's rotation of this file is not recognised.")
    divided = (plain / by).astype(np.float32).reshape(constant.get_output_shape(0))
    user.replace_source_output(opset13.constant(divided).output(0))


def _divisors(file: Path, header: Header) -> Floats | None:
    """What each frequency is divided by; None: nothing."""
    by = np.float32(_factor(header))
    for tensor in header.tensors:
        if tensor.name == FACTORS:
            at = header.data_offset + tensor.offset
            return by * np.fromfile(file, np.float32, count=tensor.dims[0], offset=at)
    return None if by == 1 else np.full(1, by, np.float32)


def _factor(header: Header) -> Any:
    """Of linear scaling. llama.cpp takes nought for none, and a file without a type for linear."""
    metadata, architecture = header.metadata, header.metadata["general.architecture"]
    if metadata.get(f"{architecture}.rope.scaling.type", "linear") == "none":
        return 1.0
    older = metadata.get(f"{architecture}.rope.scale_linear", 1.0)
    return metadata.get(f"{architecture}.rope.scaling.factor", older) or 1.0


def _frequencies(model: Any) -> tuple[Any, Any]:
    """The constant of the frequencies and the input it goes to: Broadcast, then a product."""
    found = []
    for node in model.get_ops():
        if node.get_type_name() != "Broadcast":
            continue
        source = node.input_value(0).get_node()
        users = {user.get_node().get_type_name() for user in node.output(0).get_target_inputs()}
        if source.get_type_name() == "Constant" and users == {"MatMul"}:
            found.append((source, node.input(0)))
    if len(found) != 1:
        raise CannotServe("OpenVINO's rotation of this file is not recognised.")
    return found[0]
