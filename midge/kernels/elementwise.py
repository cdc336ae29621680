"""What addition, multiplication, comparison and choice share: how broadcast operands meet the rows of the result."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import ANY_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.floating import float_clamp
from midge.kernels.loops import Loop, broadcast_strides, index_text, merged_loops
from midge.kernels.view import Rows, TaskView, c_element
from midge.ops.add import Add
from midge.ops.base import Rounding, quantized_bounds
from midge.ops.elementwise import SumParameters
from midge.ops.mul import Mul
from midge.ops.sub import Sub
from midge.targets.records import Core


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand against the rows of the result."""

    type: TensorType
    is_constant: bool
    is_by_rows: bool
    """Row r of the result needs row r only; else the operand is read as one array."""
    row_stride: int
    """Elements between what two rows of the result need in that array."""
    strides: tuple[int, ...]
    """Strides of the dimensions within a row of the result."""

    @property
    def reads(self) -> Reads | None:
        flat = not self.is_by_rows and self.type.rows > 1
        return None if self.is_constant else Reads(Layout(self.type.dtype), flat=flat)

    @property
    def window(self) -> tuple[int, int, int]:
        """For `row_steps`."""
        return (1, 0, 1) if self.is_by_rows else (0, 0, self.type.rows)


def operands(node: Node, graph: Graph) -> tuple[Operand, ...]:
    """The operands of an elementwise node."""
    y = graph.type(node.outputs[0])
    return tuple(_operand(graph, name or "", y) for name in node.inputs)


def _operand(graph: Graph, name: str, y: TensorType) -> Operand:
    type_, is_constant = graph.type(name), graph.values[name].is_constant
    full = (1,) * (len(y.shape) - len(type_.shape)) + type_.shape
    strides = broadcast_strides(full)
    if y.rows == 1:
        return Operand(type_, is_constant, False, 0, strides)
    is_by_rows = not is_constant and type_.rows == y.rows and len(type_.shape) == len(y.shape)
    return Operand(type_, is_constant, is_by_rows, strides[1], strides[2:])


class ElementwiseRows(Kernel):
    """One row of the result a step; an operand of the result's shape may be overwritten."""

    body: str
    """Template of the statements that make one value."""
    dtype: DType
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return None if graph.type(node.outputs[0]).dtype is self.dtype else f"not {self.dtype.value}"

    def bind(self, node: Node, graph: Graph) -> Binding:
        types, y = graph.input_types(node), graph.type(node.outputs[0])
        found = operands(node, graph)
        windows = {index: operand.window for index, operand in enumerate(found) if not operand.is_constant}
        same_size = tuple(index for index in windows if found[index].type.bytes == y.bytes)
        return Binding(
            self, tuple(operand.reads for operand in found), (Layout(y.dtype),), row_steps(types, y, windows),
            in_place=same_size,
        )  # fmt: skip

    def emit(self, view: TaskView) -> LayerCode:
        y, found = view.y.type, operands(view.node, view.graph)
        shape = y.shape if y.rows == 1 else y.shape[2:]
        strides = [_apart(operand.strides, rows) for operand, rows in zip(found, view.inputs, strict=True)]
        loops = merged_loops(shape, (*strides, _apart(broadcast_strides(shape), view.y)))
        names, helpers = self.names(view.node, view.graph)
        places = {role: f"{role}[{index_text(loops, index)}]" for index, role in enumerate(_ROLES[: len(found)])}
        parameters = [(c_element(operand.type.dtype), role) for operand, role in zip(found, places, strict=True)]
        kernel = render.specialised(
            "common/elementwise.c.j2", self.name, loops=loops, parameters=parameters, y_element=c_element(y.dtype),
            body=self.body, title=_title(view.node, loops), **places, **names,
        )  # fmt: skip
        constants = []
        arguments = []
        for index, (role, operand) in enumerate(zip(places, found, strict=True)):
            data = view.graph.constant(view.node.inputs[index])
            if data is not None:
                constants.append(Constant(role, data))
            arguments.append(_pointer(view, index, role, operand))
        return LayerCode(
            (*helpers, kernel), tuple(constants), f"    {kernel.name}({', '.join(arguments)}, {view.y.at(1, 0)});\n"
        )

    @abstractmethod
    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        """What the body's template is filled with, and the helper functions that it calls."""


def _apart(strides: tuple[int, ...], rows: Rows | None) -> tuple[int, ...]:
    """The strides of an array whose pixels may lie further apart than their channels need."""
    if rows is None or rows.pitch == rows.type.channels:
        return strides
    return (*(stride // rows.type.channels * rows.pitch for stride in strides[:-1]), strides[-1])


def _pointer(view: TaskView, index: int, role: str, operand: Operand) -> str:
    """C expression of where a step finds an operand."""
    if operand.is_by_rows:
        rows = view.inputs[index]
        assert rows is not None
        return rows.at(1, 0)
    rows = view.inputs[index]
    base = view.constant(role) if rows is None else rows.whole()
    return f"{base} + step * {operand.row_stride}u" if operand.row_stride else base


_ROLES = "abc"
"""Names of the operands in C."""
_TITLES = {
    "add": "Sum", "sub": "Difference", "mul": "Product", "binary": "Function", "compare": "Comparison",
    "select": "Choice", "prelu": "Rectifier",
}  # fmt: skip


def _title(node: Node, loops: tuple[Loop, ...]) -> str:
    turns = " x ".join(str(loop.count) for loop in loops) or "1"
    return f"{_TITLES[node.op.name]} of {turns} values"


class SumRowsS8(ElementwiseRows):
    """Sum or difference of integer operands with scales of their own."""

    body = "common/sum.c.j2"
    dtype = DType.INT8

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        assert isinstance(node.op, Add | Sub)
        a, b, y = (graph.type(name or "") for name in (*node.inputs, *node.outputs))
        parameters = node.op.parameters(a, b, y)
        low, high = quantized_bounds(node.op.activation, y)
        names: dict[str, object] = {
            "p": parameters,
            "a_offset": render.c_offset(-a.zero_point), "b_offset": render.c_offset(-b.zero_point),
            "y_offset": render.c_offset(y.zero_point), "sign": "+" if isinstance(node.op, Add) else "-",
            "a_factor": exact_factor(parameters, parameters.a_multiplier_q31, parameters.a_shift),
            "b_factor": exact_factor(parameters, parameters.b_multiplier_q31, parameters.b_shift),
            "low": low, "high": high,
        }  # fmt: skip
        return names, (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))


def exact_factor(parameters: SumParameters, multiplier_q31: int, shift: int) -> int | None:
    """The whole number that an addend is multiplied by, where its scaling is exact: half the shifted value."""
    return 1 << (parameters.left_shift - 1) if (multiplier_q31, shift) == (1 << 30, 0) else None


class ProductRowsS8(ElementwiseRows):
    """Product of integer operands with scales of their own."""

    body = "mul/product.c.j2"
    dtype = DType.INT8

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        assert isinstance(node.op, Mul)
        a, b, y = (graph.type(name or "") for name in (*node.inputs, *node.outputs))
        multiplier_q31, shift = node.op.requantization(a, b, y)
        low, high = quantized_bounds(node.op.activation, y)
        names: dict[str, object] = {
            "a_offset": render.c_offset(-a.zero_point), "b_offset": render.c_offset(-b.zero_point),
            "y_offset": render.c_offset(y.zero_point), "multiplier": multiplier_q31, "shift": shift,
            "low": low, "high": high,
        }  # fmt: skip
        return names, (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))


class RowsF32(ElementwiseRows):
    """Sum, difference or product of float32 operands."""

    body = "common/operator_f32.c.j2"
    dtype = DType.FLOAT32

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        op = node.op
        assert isinstance(op, Add | Sub | Mul)
        clamp = float_clamp(op.activation)
        operator = {"add": "+", "sub": "-", "mul": "*"}[op.name]
        return {"operator": operator, "clamp": clamp}, clamp.helpers
