"""float16 models as float32 ones: microcontrollers compute in float32, and every float16 number is one."""

from __future__ import annotations

from typing import Any

import numpy as np


def has_halves(model: Any) -> bool:
    """True where an onnx.ModelProto holds or makes float16."""
    from onnx import TensorProto

    half = TensorProto.FLOAT16
    ports = (*model.graph.input, *model.graph.output)
    return any(port.type.tensor_type.elem_type == half for port in ports) or any(
        tensor.data_type == half for tensor in model.graph.initializer
    )


def as_float32(model: Any) -> Any:
    """A copy with float32 in the place of float16: weights, constants, types of tensors, casts."""
    from onnx import ModelProto, TensorProto

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    for port in (*made.graph.input, *made.graph.output):
        if port.type.tensor_type.elem_type == half:
            port.type.tensor_type.elem_type = single
    for tensor in made.graph.initializer:
        _widen(tensor)
    for node in made.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = single
    return made


def _widen(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.FLOAT16:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
