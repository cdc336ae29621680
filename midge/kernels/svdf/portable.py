"""SVDF in plain C99: int8 with a state of int16 or int8, and float32. One step: an inference is a moment in time."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.floating import float_clamp
from midge.kernels.view import TaskView, c_element
from midge.ops.base import Rounding
from midge.ops.svdf import Svdf
from midge.targets.records import Core

_X, _FEATURE, _TIME, _BIAS, _HELD = range(5)


class SvdfKernel(Kernel):
    """The state moves on by one moment, the new features are its newest, and filters over time make the result."""

    op = Svdf
    dtype: DType
    template: str

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not self.dtype:
            return f"not {self.dtype.value}"
        weights = [node.inputs[position] for position in (_FEATURE, _TIME, _BIAS)]
        if any(name is not None and graph.constant(name) is None for name in weights):
            return "the weights are not constant"
        if any(graph.constant(node.inputs[position]) is not None for position in (_X, _HELD)):
            return "an operand is constant"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, held = graph.type(node.inputs[_X] or ""), graph.type(node.inputs[_HELD] or "")
        reads = (Reads(Layout(x.dtype)), None, None, None, Reads(Layout(held.dtype)))
        writes = tuple(Layout(graph.type(name).dtype) for name in node.outputs)
        return Binding(self, reads, writes, (Step(((0, 0), None, None, None, (0, 0)), 1),))

    def emit(self, view: TaskView) -> LayerCode:
        op, held, (y, after) = view.node.op, view.inputs[_HELD], view.outputs
        feature, time = (view.graph.constant(view.node.inputs[position]) for position in (_FEATURE, _TIME))
        assert isinstance(op, Svdf) and held is not None and feature is not None and time is not None
        bias = view.graph.constant(view.node.inputs[_BIAS])
        bias = np.zeros(y.type.channels, np.float32 if self.dtype.is_float else np.int32) if bias is None else bias
        helpers, names = self.names(op, view)
        kernel = render.specialised(
            self.template, self.name, inputs=feature.shape[1], filters=len(feature), steps=time.shape[1],
            rank=op.rank, units=y.type.channels, held=c_element(held.type.dtype), time=held.type.dtype.c_name, **names,
        )  # fmt: skip
        constants = (Constant("feature", feature), Constant("time", time), Constant("bias", bias),
                     *self.starts(feature, view))  # fmt: skip
        arguments = "".join(f", {view.constant(constant.role)}" for constant in constants)
        body = f"    {kernel.name}({view.x.whole()}, {held.whole()}, {y.whole()}, {after.whole()}{arguments});\n"
        return LayerCode((*helpers, kernel), constants, body)

    def starts(self, feature: np.ndarray, view: TaskView) -> tuple[Constant, ...]:
        """What the sums of features begin with; empty where that is 0."""
        del feature, view
        return ()

    @abstractmethod
    def names(self, op: Svdf, view: TaskView) -> tuple[tuple[Function, ...], dict[str, object]]:
        """Helper functions, and what the template is filled with."""


class SvdfS8(SvdfKernel):
    """int8, with a state of int16 or int8."""

    name: ClassVar[str] = "svdf_s8_step__portable"
    dtype = DType.INT8
    template = "svdf/portable_s8.c.j2"

    def starts(self, feature: np.ndarray, view: TaskView) -> tuple[Constant, ...]:
        return (Constant("starts", (-view.x.type.zero_point * feature.sum(1, dtype=np.int64)).astype(np.int32)),)

    def names(self, op: Svdf, view: TaskView) -> tuple[tuple[Function, ...], dict[str, object]]:
        y, after = (rows.type for rows in view.outputs)
        features, results = op.multipliers(view.graph.input_types(view.node), y)
        names: dict[str, object] = {
            "features": features, "results": results, "held_offset": render.c_offset(after.zero_point),
            "minus_held": render.c_offset(-after.zero_point), "y_offset": render.c_offset(y.zero_point),
            "limits": after.dtype.limits,
        }  # fmt: skip
        return (render.scale_helper(Rounding.DOUBLE), render.helper("clamp")), names


class SvdfF32(SvdfKernel):
    """float32."""

    name: ClassVar[str] = "svdf_f32_step__portable"
    dtype = DType.FLOAT32
    template = "svdf/portable_f32.c.j2"

    def names(self, op: Svdf, view: TaskView) -> tuple[tuple[Function, ...], dict[str, object]]:
        clamp = float_clamp(op.activation)
        return clamp.helpers, {"clamp": clamp}


KERNELS = (SvdfS8(), SvdfF32())
