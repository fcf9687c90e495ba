"""Fills the graph that OpenVINO's reader made from a stand-in with the weights of the real file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from haneul.base.gguf import Header
from haneul.engine.openvino.rotation import rotate
from haneul.engine.openvino.stand_in import MARKS, told
from haneul.engine.openvino.weights import Rows, weights
from haneul.engine.worker.stepper import CannotServe


def fill(source: Path, target: Path, *, file: Path, header: Header) -> None:
    """Reads the stand-in's model and writes the file's. Raises CannotServe.

    Every matrix of the file has to be found in the graph, and every matrix there in the file.
    """
    model = openvino.Core().read_model(source)
    names = {tensor.name for tensor in header.tensors}
    left = {tensor.name for tensor in header.tensors if len(tensor.dims) > 1}
    for convert, scales in _matrices(model):
        place, marks = told(scales)
        if not 0 <= place < len(header.tensors):
            raise CannotServe("OpenVINO's model of this file is not recognised.")
        tensor = header.tensors[place]
        rows = _rows(marks, len(scales))
        if f"{tensor.name.removesuffix('weight')}bias" in names and np.any(np.diff(rows) < 0):
            raise CannotServe(f"OpenVINO's reader turns {tensor.name} but not its bias.")
        node = weights(file, header, tensor, rows)
        for user in convert.output(0).get_target_inputs():
            user.replace_source_output(node.output(0))
        left.discard(tensor.name)
    if left:
        raise CannotServe(f"OpenVINO's reader left out {', '.join(sorted(left)[:3])}.")
    rotate(model, file=file, header=header)
    openvino.save_model(model, target, compress_to_fp16=False)


def _matrices(model: Any) -> list[tuple[Any, Any]]:
    """Where each matrix becomes float32, with the bits of its scales, (rows, groups)."""
    found = []
    for node in model.get_ops():
        if node.get_type_name() != "Subtract" or not _is_four_bits(node):
            continue
        multiply = _only_user(node)
        scales = multiply.input_value(1).get_node().get_data()
        convert = _only_user(_only_user(multiply))
        if convert.get_type_name() != "Convert":
            raise CannotServe("OpenVINO's model of this file is not recognised.")
        found.append((convert, scales.reshape(scales.shape[0], -1).view(np.uint16)))
    return found


def _is_four_bits(subtract: Any) -> bool:
    inner = subtract.input_value(0).get_node()
    if inner.get_type_name() != "Convert":
        return False
    return bool(inner.input_value(0).get_element_type() == openvino.Type.u4)


def _only_user(node: Any) -> Any:
    users = list(node.output(0).get_target_inputs())
    if len(users) != 1:
        raise CannotServe("OpenVINO's model of this file is not recognised.")
    return users[0].get_node()


def _rows(marks: Rows, count: int) -> Rows:
    """The file's rows in the graph's order."""
    if count > MARKS:
        if not np.array_equal(marks, np.arange(count) % MARKS):
            raise CannotServe("OpenVINO's reader has moved the rows of a large table.")
        return np.arange(count)
    if not np.array_equal(np.sort(marks), np.arange(count)):
        raise CannotServe("OpenVINO's reader has lost rows of a matrix.")
    return marks
