"""Convolution in plain C99: int8, int16 and float32, any shape."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import offset_weights, render
from midge.kernels.base import ANY_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, row_steps
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import channel_scaling
from midge.kernels.quantized_s16 import Scaling, wide_scaling
from midge.kernels.view import TaskView, c_element, pitch_key
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


def conv2d_window(node: Node, graph: Graph) -> Window:
    """The geometry of a convolution node."""
    op = node.op
    assert isinstance(op, Conv2D)
    x, weights, y = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0])
    return Window(
        x, y, weights.shape[1], weights.shape[2], op.stride_h, op.stride_w, op.dilation_h, op.dilation_w, op.padding
    )


def refuse_unless_dense(node: Node, graph: Graph, core: Core, dtype: DType = DType.INT8) -> str | None:
    """Why a node is no convolution of that type, of one group, whose taps lie side by side in a row."""
    reason = (Conv2DS16() if dtype is DType.INT16 else Conv2DS8()).refuse(node, graph, core)
    if reason is not None:
        return reason
    window = conv2d_window(node, graph)
    if graph.type(node.inputs[1] or "").shape[3] != window.x.channels or window.dilation_w != 1:
        return "it has groups or dilated rows"
    return None


class Conv2DS8(Kernel):
    """One output row from KH padded rows of integers; one product at a time."""

    name: ClassVar[str] = "conv2d_s8_direct__portable"
    op = Conv2D
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH
    template: ClassVar[str] = "conv2d/portable.c.j2"
    dtype: ClassVar[DType] = DType.INT8
    weights: ClassVar[DType] = DType.INT8
    run_multiple: ClassVar[int] = 1
    """Each run of weights is filled with zeros up to a multiple of this."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        types = (graph.type(node.inputs[0] or ""), graph.type(node.outputs[0]))
        if any(type_.dtype is not self.dtype for type_ in types):
            return f"not {self.dtype.value}"
        return offset_weights.refuse_weights(node, graph, self.weights)

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        over = self.run_multiple - 1
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(
            self, (window.reads(over_bytes=over), None, None)[: len(node.inputs)], (Layout(self.dtype),), steps
        )

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        scaling = self.scaling(view.node, view.graph, weights)
        stored, offset = offset_weights.as_bytes(weights)
        names = {**self.names(window, weights, scaling, view), "weight": offset_weights.read("w[i]", offset),
                 "widened": functools.partial(offset_weights.widened, offset=offset)}  # fmt: skip
        key = f"{pitch_key(view)}{scaling.key}{offset_weights.key(offset)}"
        kernel = render.function(self.template, f"{self.name}_{window.key}{key}", **names)
        packed = pack_runs(stored, names["runs"], self.run_multiple, -offset)
        return LayerCode(
            (*self.helpers(scaling), kernel),
            (Constant("weights", packed, max(1, self.run_multiple)), *scaling.constants),
            render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name,
                          element=c_element(self.dtype), constants=["weights", *scaling.roles]),
        )  # fmt: skip

    def scaling(self, node: Node, graph: Graph, weights: np.ndarray) -> Scaling:
        """From accumulators to results."""
        return channel_scaling(node, graph, weights.reshape(weights.shape[0], -1).sum(1, dtype=np.int64))

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return scaling.helpers

    def names(self, window: Window, weights: np.ndarray, scaling: Scaling, view: TaskView) -> dict[str, Any]:
        """What the template is filled with."""
        group_inputs = weights.shape[3]
        groups = window.x.channels // group_inputs
        joined = groups == 1 and window.dilation_w == 1 and view.x.pitch == window.x.channels
        run = window.kw * group_inputs if joined else group_inputs
        return {
            "window": window,
            "groups": groups,
            "group_inputs": group_inputs,
            "group_outputs": window.y.channels // groups,
            "runs": 1 if joined else window.kw,
            "run": run,
            "padded_run": -(-run // self.run_multiple) * self.run_multiple,
            "scaling": scaling,
            "element": c_element(self.dtype),
            "x_pitch": view.x.pitch,
            "y_pitch": view.y.pitch,
        }


def pack_runs(weights: np.ndarray, runs: int, multiple: int, filling: int = 0) -> np.ndarray:
    """Weights [O, KH, KW, I] as they are read: for each output KH * `runs` runs, each filled up."""
    outputs, kh, kw, inputs = weights.shape
    flat = weights.reshape(outputs, kh, runs, kw * inputs // runs)
    missing = -flat.shape[3] % multiple
    return np.pad(flat, ((0, 0), (0, 0), (0, 0), (0, missing)), constant_values=filling)


class Conv2DS8Offset(Conv2DS8):
    """One output row from KH padded rows of int8; weights of 16 bits, stored as bytes."""

    name: ClassVar[str] = "conv2d_s8_offset__portable"
    weights = DType.INT16


class Conv2DS16(Conv2DS8):
    """One output row from KH padded int16 rows; accumulators of 64 bits where 32 might not do."""

    name: ClassVar[str] = "conv2d_s16_direct__portable"
    dtype = DType.INT16

    def scaling(self, node: Node, graph: Graph, weights: np.ndarray) -> Scaling:
        del weights
        assert isinstance(node.op, Conv2D)
        return wide_scaling(node, graph, 0, node.op.rounding)


class Conv2DF32(Kernel):
    """One output row from KH padded float rows."""

    name: ClassVar[str] = "conv2d_f32_direct__portable"
    op = Conv2D
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        types = (graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0]))
        if any(type_.dtype is not DType.FLOAT32 for type_ in types):
            return "not float32"
        if graph.constant(node.inputs[1]) is None:
            return "the weights are not constant"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (window.reads(), None, None)[: len(node.inputs)], (Layout(DType.FLOAT32),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        groups = window.x.channels // weights.shape[3]
        joined = groups == 1 and window.dilation_w == 1 and view.x.pitch == window.x.channels
        runs = 1 if joined else window.kw
        names: Mapping[str, Any] = {
            "window": window, "groups": groups, "group_inputs": weights.shape[3],
            "group_outputs": window.y.channels // groups, "runs": runs, "run": window.kw * weights.shape[3] // runs,
            "clamp": float_clamp(view.node.op.activation),  # type: ignore[attr-defined]
            "x_pitch": view.x.pitch, "y_pitch": view.y.pitch,
        }  # fmt: skip
        key = f"{window.key}{pitch_key(view)}{names['clamp'].key}"
        kernel = render.function("conv2d/portable_f32.c.j2", f"{self.name}_{key}", **names)
        bias = float_bias(view.node, view.graph, window.y.channels)
        return LayerCode(
            (*names["clamp"].helpers, kernel),
            (Constant("weights", pack_runs(weights, runs, 1)), Constant("bias", bias)),
            render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name, element="midge_f32",
                          constants=["weights", "bias"]),
        )  # fmt: skip


KERNELS = (Conv2DS8(), Conv2DS8Offset(), Conv2DS16(), Conv2DF32())
