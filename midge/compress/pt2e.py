"""A quantizer for torchao's PT2E flow whose networks end in exactly Midge's integers (docs/frameworks.md).

Activations int8 over the whole range, one scale and zero point a tensor; weights int8 without zero point, a scale for
each output channel; biases float32, which the importer rounds to int32 in the accumulators' scale. Importing this
module needs torch and torchao.
"""

from __future__ import annotations

from typing import Any

import torch
from torchao.quantization.pt2e import (
    FusedMovingAvgObsFakeQuantize,
    HistogramObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

_KEY = "quantization_annotation"
_WEIGHTED = {"conv1d", "conv2d", "linear"}
_SUMS = {"add", "add_", "sub", "mul", "mul_", "cat"}
_NORMS = {"batch_norm"}
_RECTIFIERS = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_"}
_SHARING = {
    "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "flatten", "view", "reshape", "permute", "transpose",
    "squeeze", "unsqueeze", "dropout", "dropout_", "slice", "select", "contiguous", "pad",
}  # fmt: skip
"""Operators whose integers keep the scale of their operand."""
_ALONE = {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "mean"} | _RECTIFIERS
_UNIT = (1 / 256, -128)
_FIXED = {"softmax": _UNIT, "sigmoid": _UNIT, "tanh": (1 / 128, 0)}
"""Operators whose integers have one scale and zero point always."""


class MidgeQuantizer(Quantizer):
    """For prepare_pt2e, or with `is_qat` for prepare_qat_pt2e. Operators that it does not name stay float32."""

    def __init__(self, *, is_qat: bool = False) -> None:
        self._activation = _activation_spec(is_qat)
        self._weight = _weight_spec(is_qat)

    def annotate(self, model: Any) -> Any:
        for node in model.graph.nodes:
            if node.op != "call_function" or _KEY in node.meta:
                continue
            kind = _kind(node)
            if kind in _WEIGHTED:
                self._annotate(node, {node.args[0]: self._activation, node.args[1]: self._weight}, joins_norm=True)
            elif kind in _SUMS:
                operands = node.args[0] if kind == "cat" else node.args[:2]
                self._annotate(node, {one: self._activation for one in operands if _is_tensor(one)})
            elif kind in _SHARING:
                self._share(node)
            elif kind in _ALONE:
                self._finish(node, node, {node.args[0]: self._activation}, self._activation)
            elif kind in _FIXED:
                scale, zero = _FIXED[kind]
                fixed = FixedQParamsQuantizationSpec(torch.int8, scale, zero, -128, 127, torch.per_tensor_affine)
                self._finish(node, node, {node.args[0]: self._activation}, fixed)
        return model

    def validate(self, model: Any) -> None:
        del model

    def _annotate(self, node: Any, inputs: dict[Any, Any], *, joins_norm: bool = False) -> None:
        """A layer with the normalisation and rectifier behind it, which are one integer operator."""
        last = node
        for kinds in (_NORMS, _RECTIFIERS) if joins_norm else (_RECTIFIERS,):
            follower = next(iter(last.users), None)
            if len(last.users) == 1 and follower is not None and _kind(follower) in kinds and _fuses(follower):
                last.meta.setdefault(_KEY, QuantizationAnnotation(_annotated=True))
                last = follower
        self._finish(node, last, inputs, self._activation)

    def _finish(self, node: Any, last: Any, inputs: dict[Any, Any], output: Any) -> None:
        node.meta[_KEY] = QuantizationAnnotation(input_qspec_map=inputs, _annotated=True)
        if last is node:
            node.meta[_KEY].output_qspec = output
        else:
            last.meta[_KEY] = QuantizationAnnotation(output_qspec=output, _annotated=True)

    def _share(self, node: Any) -> None:
        operand = node.args[0]
        self._finish(node, node, {operand: self._activation}, SharedQuantizationSpec((operand, node)))


def _activation_spec(is_qat: bool) -> QuantizationSpec:
    if is_qat:
        make = FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAverageMinMaxObserver)
    else:
        make = HistogramObserver
    return QuantizationSpec(torch.int8, make, -128, 127, torch.per_tensor_affine)


def _weight_spec(is_qat: bool) -> QuantizationSpec:
    if is_qat:
        make = FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAveragePerChannelMinMaxObserver)
    else:
        make = PerChannelMinMaxObserver
    return QuantizationSpec(torch.int8, make, -127, 127, torch.per_channel_symmetric, ch_axis=0)


def _kind(node: Any) -> str:
    """`conv2d`: an ATen operator without its overload; "" for others."""
    parts = str(node.target).split(".")
    return parts[1] if node.op == "call_function" and parts[0] == "aten" and len(parts) > 1 else ""


def _fuses(node: Any) -> bool:
    """A rectifier that an integer operator ends with: hardtanh between 0 and 6, or -1 and 1."""
    return not _kind(node).startswith("hardtanh") or tuple(node.args[1:3]) in ((), (-1.0, 1.0), (0.0, 6.0))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.fx.Node)
