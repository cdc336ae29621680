"""How far an output may be from that of a reference that scales accumulators in float32."""

from __future__ import annotations

from midge.ir.graph import Graph
from midge.ops.dequantize import Dequantize
from midge.ops.rearrange import Rearrange
from midge.ops.reshape import Reshape

_INTEGER_STEPS = 256


def step(graph: Graph, name: str) -> float:
    """How far an output may be from such a reference's: one step of its integers.

    Behind float layers that follow quantised ones: a step of 8 bits over the range -1 … 1. 0 for float networks.
    """
    type_ = graph.type(name)
    if not type_.dtype.is_float:
        return 1.0
    while (node := graph.producer(name)) is not None and isinstance(node.op, Reshape | Rearrange | Dequantize):
        source = node.inputs[0] or ""
        if isinstance(node.op, Dequantize):
            quantization = graph.type(source).quantization
            return quantization.scale if quantization is not None else 0.0
        name = source
    is_quantized = any(value.type.quantization is not None for value in graph.values.values())
    return 2.0 / _INTEGER_STEPS if is_quantized else 0.0
