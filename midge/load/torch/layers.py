"""Convolutions, fully connected layers, normalisation, pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from midge.load.torch.call import Call, Refused


def convolution(call: Call) -> str:
    rank = len(call.shape("weight")) - 2
    if len(call.shape("input")) != rank + 2:
        raise Refused("an input without a batch")
    if call.get("transposed", False):
        return transposed(call)
    attributes: dict[str, Any] = {
        "strides": list(call.pair("stride", rank)), "dilations": list(call.pair("dilation", rank)),
        "group": int(call.get("groups", 1)),
    }  # fmt: skip
    padding = call.get("padding", 0)
    if isinstance(padding, str):
        attributes["auto_pad"] = "SAME_UPPER" if padding == "same" else "VALID"
    else:
        pads = call.pair("padding", rank)
        attributes["pads"] = [*pads, *pads]
    return call.op("Conv", call.tensor("input"), call.tensor("weight"), call.optional("bias"), **attributes)


def transposed(call: Call) -> str:
    rank = len(call.shape("weight")) - 2
    if len(call.shape("input")) != rank + 2:
        raise Refused("an input without a batch")
    pads = call.pair("padding", rank, (0,))
    return call.op(
        "ConvTranspose", call.tensor("input"), call.tensor("weight"), call.optional("bias"),
        strides=list(call.pair("stride", rank, (1,))), dilations=list(call.pair("dilation", rank, (1,))),
        output_padding=list(call.pair("output_padding", rank, (0,))), pads=[*pads, *pads],
        group=int(call.get("groups", 1)),
    )  # fmt: skip


def linear(call: Call) -> str:
    operands = (call.tensor("input"), call.tensor("weight"), call.optional("bias"))
    if len(call.shape("input")) == 2:
        return call.op("Gemm", *operands, transB=1)
    return call.op("midge:Linear", *operands)


def matmul(call: Call) -> str:
    left, right = ("self", "other") if call.is_tensor("other") else ("self", "mat2")
    return call.op("MatMul", call.tensor(left), call.tensor(right))


def addmm(call: Call) -> str:
    return call.op("Gemm", call.tensor("mat1"), call.tensor("mat2"), call.tensor("self"),
                   alpha=float(call.get("alpha", 1)), beta=float(call.get("beta", 1)))  # fmt: skip


def batch_norm(call: Call) -> tuple[str, ...]:
    if call.get("training", False):
        raise Refused("training mode: call module.eval() before the export")
    channels = call.shape("input")[1]
    statistics = []
    for name, default in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
        array = call.constant(name)
        array = np.full(channels, default, np.float32) if array is None else array
        statistics.append(call.records.constant(array, name))
    made = call.op("BatchNormalization", call.tensor("input"), *statistics, epsilon=float(call["eps"]))
    return (made, "", "")


def layer_norm(call: Call) -> str:
    axes = len(call["normalized_shape"])
    factor = call.optional("weight") or call.records.constant(np.ones(call["normalized_shape"], np.float32), "factor")
    return call.op("LayerNormalization", call.tensor("input"), factor, call.optional("bias"), axis=-axes,
                   epsilon=float(call["eps"]))  # fmt: skip


def native_layer_norm(call: Call) -> tuple[str, ...]:
    return (layer_norm(call), "", "")


def _pool(call: Call, kind: str, rank: int, **more: Any) -> str:
    kernel = call.pair("kernel_size", rank)
    pads = call.pair("padding", rank)
    return call.op(kind, call.tensor("self"), kernel_shape=list(kernel), pads=[*pads, *pads],
                   strides=list(call.pair("stride", rank, kernel)), ceil_mode=int(call.get("ceil_mode", False)),
                   **more)  # fmt: skip


def max_pool(rank: int) -> Callable[[Call], str]:
    return lambda call: _pool(call, "MaxPool", rank, dilations=list(call.pair("dilation", rank)))


def max_pool_with_indices(call: Call) -> tuple[str, ...]:
    return (max_pool(2)(call), "")


def average_pool(rank: int) -> Callable[[Call], str]:
    def row(call: Call) -> str:
        if call.get("divisor_override") is not None:
            raise Refused("another divisor than the window's size")
        counts = call.get("count_include_pad", True) and any(call.pair("padding", rank))
        return _pool(call, "AveragePool", rank, count_include_pad=int(counts))

    return row


def adaptive(kind: str, rank: int) -> Callable[[Call], str]:
    """Adaptive pools whose windows all have one size."""

    def row(call: Call) -> str:
        size = call.shape("self")[-rank:]
        wanted = [have if want is None else want
                  for have, want in zip(size, call.pair("output_size", rank), strict=True)]  # fmt: skip
        if len(call.shape("self")) != rank + 2:
            raise Refused("an input without a batch")
        if all(want == 1 for want in wanted):
            return call.op(f"Global{kind}", call.tensor("self"))
        return _in_parts(call, kind, size, wanted)

    return row


def _in_parts(call: Call, kind: str, size: Sequence[int], wanted: Sequence[int]) -> str:
    if any(have % want for have, want in zip(size, wanted, strict=True)):
        raise Refused(f"windows of different size, from {list(size)} to {list(wanted)}")
    window = [have // want for have, want in zip(size, wanted, strict=True)]
    return call.op(kind, call.tensor("self"), kernel_shape=window, strides=window)


def adaptive_max(rank: int) -> Callable[[Call], tuple[str, ...]]:
    return lambda call: (adaptive("MaxPool", rank)(call), "")


ROWS: dict[str, Callable[[Call], Any]] = {
    "aten._adaptive_avg_pool2d": adaptive("AveragePool", 2),
    "aten._native_batch_norm_legit_no_training": batch_norm,
    "aten.adaptive_avg_pool1d": adaptive("AveragePool", 1),
    "aten.adaptive_avg_pool2d": adaptive("AveragePool", 2),
    "aten.adaptive_max_pool1d": adaptive_max(1),
    "aten.adaptive_max_pool2d": adaptive_max(2),
    "aten.addmm": addmm,
    "aten.avg_pool1d": average_pool(1),
    "aten.avg_pool2d": average_pool(2),
    "aten.bmm": matmul,
    "aten.conv1d": convolution,
    "aten.conv2d": convolution,
    "aten.conv_transpose1d": transposed,
    "aten.conv_transpose2d": transposed,
    "aten.convolution": convolution,
    "aten.layer_norm": layer_norm,
    "aten.linear": linear,
    "aten.matmul": matmul,
    "aten.max_pool1d": max_pool(1),
    "aten.max_pool2d": max_pool(2),
    "aten.max_pool2d_with_indices": max_pool_with_indices,
    "aten.mm": matmul,
    "aten.native_layer_norm": native_layer_norm,
}
