"""Which function imports which ONNX operator."""

from __future__ import annotations

from collections.abc import Callable

from midge.load.onnx import (
    activations,
    elementwise,
    functions,
    movement,
    normalize,
    pools,
    quantized,
    recurrent,
    reductions,
    resampling,
    transposed,
    weighted,
)
from midge.load.onnx.site import Site

ROWS: dict[str, Callable[[Site], None]] = {
    "Add": elementwise.add,
    "AveragePool": pools.average_pool,
    "BatchNormalization": normalize.batch_norm,
    "Concat": movement.concat,
    "Conv": weighted.conv,
    "DepthToSpace": movement.moved(movement.depth_to_space),
    "Dropout": movement.dropout,
    "Expand": movement.moved(movement.expand),
    "Flatten": movement.moved(movement.flatten),
    "Gather": movement.moved(movement.gather),
    "Gemm": weighted.gemm,
    "GlobalAveragePool": pools.global_average,
    "Identity": movement.identity,
    "InstanceNormalization": normalize.instance_norm,
    "LRN": normalize.local_response,
    "LayerNormalization": normalize.layer_norm,
    "MatMul": weighted.matmul,
    "MaxPool": pools.max_pool,
    "Mul": elementwise.mul,
    "Pad": movement.pad,
    "ReduceMean": pools.reduce_mean,
    "Relu": elementwise.relu,
    "Reshape": movement.moved(movement.reshape),
    "Sigmoid": elementwise.sigmoid,
    "Slice": movement.moved(movement.slice_of),
    "Softmax": elementwise.softmax,
    "SpaceToDepth": movement.moved(movement.space_to_depth),
    "Split": movement.split,
    "Squeeze": movement.moved(movement.squeeze),
    "Sub": elementwise.sub,
    "Sum": elementwise.sum_of,
    "Tanh": elementwise.tanh,
    "Transpose": movement.moved(movement.transpose),
    "Unsqueeze": movement.moved(movement.unsqueeze),
    "midge:Linear": weighted.linear,
    **activations.ROWS,
    **functions.ROWS,
    **quantized.ROWS,
    **recurrent.ROWS,
    **reductions.ROWS,
    **resampling.ROWS,
    **transposed.ROWS,
}
"""ONNX operator (of another domain with its name before it) -> the function that imports it."""
