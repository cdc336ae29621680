"""LSTM in plain C99: int8 with int16 cells, and float32. The whole sequence in one step, a loop over time."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.floating import exp_helpers
from midge.kernels.view import TaskView
from midge.ops.base import Rounding
from midge.ops.fixed_point import EXP_STEPS
from midge.ops.fixed_point_s16 import narrowed
from midge.ops.lstm import Lstm, cell_exponent
from midge.targets.records import Core

_HELD, _CELLS = 13, 14


class LstmKernel(Kernel):
    """All rows of x in, all rows of the result out."""

    op = Lstm
    dtype: DType
    template: str

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not self.dtype:
            return f"not {self.dtype.value}"
        if any(graph.constant(name) is None for name in node.inputs[1:_HELD]):
            return "the weights are not constant"
        if any(graph.constant(node.inputs[position]) is not None for position in (0, _HELD, _CELLS)):
            return "an operand is constant"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        types = [graph.type(name or "") for name in node.inputs]
        rows = types[0].rows
        read = [Reads(Layout(type_.dtype)) if i in (0, _HELD, _CELLS) else None for i, type_ in enumerate(types)]
        needs = [None if reads is None else (0, types[i].rows - 1) for i, reads in enumerate(read)]
        writes = tuple(Layout(graph.type(name).dtype) for name in node.outputs)
        return Binding(self, tuple(read), writes, (Step(tuple(needs), rows),))

    def emit(self, view: TaskView) -> LayerCode:
        op, (y, last, cells_after) = view.node.op, view.outputs
        held, cells = view.inputs[_HELD], view.inputs[_CELLS]
        assert isinstance(op, Lstm) and held is not None and cells is not None
        arrays = [view.graph.constant(name) for name in view.node.inputs]
        weights, recurrent = (np.stack([a for a in part if a is not None]) for part in (arrays[1:5], arrays[5:9]))
        helpers, names = self.names(op, view)
        steps, width = y.type.shape[1:]
        kernel = render.specialised(self.template, self.name, inputs=view.x.type.shape[2], width=width, **names)
        body = render.render(
            "lstm/layer.c.j2", kernel=kernel.name, steps=steps, x=view.x.at_row("t"), y=y.at_row("t"),
            before=y.at_row("t - 1u"), y_last=y.at_row(f"{steps - 1}u"), held=held.whole(), cells=cells.whole(),
            last=last.whole(), cells_after=cells_after.whole(), cell_bytes=cells.type.bytes,
            held_bytes=held.type.bytes, weights=view.constant("weights"), recurrent=view.constant("recurrent"),
            starts=view.constant("starts"),
        )  # fmt: skip
        constants = (Constant("weights", weights), Constant("recurrent", recurrent),
                     Constant("starts", self.starts(op, view)))  # fmt: skip
        return LayerCode((*helpers, kernel), constants, body)

    @abstractmethod
    def starts(self, op: Lstm, view: TaskView) -> np.ndarray:
        """What the sums of products begin with."""

    @abstractmethod
    def names(self, op: Lstm, view: TaskView) -> tuple[tuple[Function, ...], dict[str, object]]:
        """Helper functions, and what the template is filled with."""


class LstmS8(LstmKernel):
    """int8, and int16 cells."""

    name: ClassVar[str] = "lstm_s8_sequence__portable"
    dtype = DType.INT8
    template = "lstm/portable_s8.c.j2"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is None and _reach(node, graph) >= 2**31:
            return "the accumulator can leave 32 bits"
        return reason

    def starts(self, op: Lstm, view: TaskView) -> np.ndarray:
        return _starts(view.node, view.graph).astype(np.int32)

    def names(self, op: Lstm, view: TaskView) -> tuple[tuple[Function, ...], dict[str, object]]:
        multipliers, cells = op.multipliers(view.graph.input_types(view.node)), view.outputs[2].type
        names: dict[str, object] = {
            "multipliers": [multiplier for multiplier, _ in multipliers[:8]],
            "shifts": [shift for _, shift in multipliers[:8]],
            "output_multiplier": multipliers[8][0], "output_shift": multipliers[8][1],
            "offset": render.c_offset(op.hidden_zero_point), "clip": op.clip_bound(cells),
            "exponent": cell_exponent(cells),
        }  # fmt: skip
        exp = render.function(
            "lstm/exp_s16.c.j2", "midge_exp_s16", factors=[narrowed(factor) for _, factor in EXP_STEPS],
            third=narrowed(715827883), centre=narrowed(1895147668), guess=narrowed(1515870810),
            slope=narrowed(-1010580540),
        )  # fmt: skip
        activations = render.function("lstm/activations.c.j2", "midge_sigmoid_s16")
        scale = render.scale_helper(Rounding.DOUBLE)
        return (scale, render.helper("clamp"), render.helper("high_mul_s16"), exp, activations), names


class LstmF32(LstmKernel):
    """float32."""

    name: ClassVar[str] = "lstm_f32_sequence__portable"
    dtype = DType.FLOAT32
    template = "lstm/portable_f32.c.j2"

    def starts(self, op: Lstm, view: TaskView) -> np.ndarray:
        biases = [view.graph.constant(name) for name in view.node.inputs[9:13]]
        return np.stack([bias for bias in biases if bias is not None])

    def names(self, op: Lstm, view: TaskView) -> tuple[tuple[Function, ...], dict[str, object]]:
        clip = op.cell_clip > 0
        helpers = (*exp_helpers(), render.helper("tanh_f32"), *((render.helper("clamp_f32"),) if clip else ()))
        return helpers, {"clip": render.c_float(op.cell_clip) if clip else None}


def _starts(node: Node, graph: Graph) -> np.ndarray:
    """int64 [8, O]."""
    assert isinstance(node.op, Lstm)
    return np.stack(node.op.biases([graph.constant(name) for name in node.inputs], graph.input_types(node)))


def _reach(node: Node, graph: Graph) -> int:
    """The largest magnitude that a sum of products can take."""
    arrays = [graph.constant(name) for name in node.inputs[1:9]]
    sums = [np.abs(array.astype(np.int64)).sum(1) for array in arrays if array is not None]
    return int(
        max((np.abs(start) + 128 * total).max() for start, total in zip(_starts(node, graph), sums, strict=True))
    )


KERNELS = (LstmS8(), LstmF32())
