"""Products of matrices in plain C99: int8 and float32, any shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.loops import broadcast_strides, dense_strides, index_text, merged_loops
from midge.kernels.view import TaskView, c_element
from midge.ops.base import Rounding
from midge.ops.batch_matmul import BatchMatmul
from midge.targets.records import Core


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand against the rows of the result."""

    type: TensorType
    is_constant: bool
    is_by_rows: bool
    """Row r of the result needs row r only."""
    strides: tuple[int, ...]
    """From one index of the result's dimensions to the next; 0 where it does not matter."""
    term_stride: int


def _operand(graph: Graph, name: str, y: TensorType, is_left: bool, is_flipped: bool) -> Operand:
    value, rank = graph.values[name], len(y.shape)
    type_ = value.type
    outer = broadcast_strides((1,) * (rank - len(type_.shape)) + type_.shape)[:-2]
    rows, columns = dense_strides(type_.shape)[-2:]
    if is_flipped:
        rows, columns = columns, rows
    own = (rows, 0) if is_left else (0, columns)
    strides = (*outer, *own)
    by_rows = not value.is_constant and y.rows > 1 and type_.rows == y.rows and len(type_.shape) == rank
    if rank == 3:  # rows of the result are rows of the left matrix
        by_rows = by_rows and is_left and not is_flipped
    return Operand(type_, value.is_constant, by_rows, strides, columns if is_left else rows)


def _operands(node: Node, graph: Graph) -> tuple[Operand, Operand]:
    op, y = node.op, graph.type(node.outputs[0])
    assert isinstance(op, BatchMatmul)
    left = _operand(graph, node.inputs[0] or "", y, True, op.transpose_a)
    return left, _operand(graph, node.inputs[1] or "", y, False, op.transpose_b)


class BatchMatmulRows(Kernel):
    """One row of the result a step, one product at a time; an operand is read as a whole where it has to be."""

    name: ClassVar[str] = "batch_matmul_rows__portable"
    op = BatchMatmul

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "both operands are constant" if all(graph.constant(n) is not None for n in node.inputs) else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y, found = graph.type(node.outputs[0]), _operands(node, graph)
        windows = {index: (1, 0, 1) if operand.is_by_rows else (0, 0, operand.type.rows)
                   for index, operand in enumerate(found) if not operand.is_constant}  # fmt: skip
        reads = tuple(
            None if operand.is_constant else Reads(Layout(operand.type.dtype),
                                                   flat=not operand.is_by_rows and operand.type.rows > 1)
            for operand in found
        )  # fmt: skip
        return Binding(self, reads, (Layout(y.dtype),), row_steps(graph.input_types(node), y, windows))

    def emit(self, view: TaskView) -> LayerCode:
        op, y, found = view.node.op, view.y.type, _operands(view.node, view.graph)
        assert isinstance(op, BatchMatmul)
        cut = 2 if y.rows > 1 else 0
        a, b = found
        loops = merged_loops(y.shape[cut:], (a.strides[cut:], b.strides[cut:]))
        names: dict[str, object] = {"is_float": y.dtype.is_float, "plain": "float" if y.dtype.is_float else "int32_t"}
        helpers = ()
        if not y.dtype.is_float:
            multiplier, shift = op.requantization(a.type, b.type, y)
            names |= {
                "a_offset": render.c_offset(-a.type.zero_point), "b_offset": render.c_offset(-b.type.zero_point),
                "y_offset": render.c_offset(y.zero_point), "multiplier": multiplier, "shift": shift,
            }  # fmt: skip
            helpers = (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))
        kernel = render.specialised(
            "batch_matmul/rows.c.j2", self.name, loops=loops, a=index_text(loops, 0), b=index_text(loops, 1),
            a_stride=a.term_stride, b_stride=b.term_stride, terms=op.sizes(a.type, b.type)[1],
            element=c_element(y.dtype), **names,
        )  # fmt: skip
        constants, pointers = [], []
        for index, (role, operand) in enumerate(zip("ab", found, strict=True)):
            data = view.graph.constant(view.node.inputs[index])
            if data is not None:
                constants.append(Constant(role, data))
            pointers.append(_pointer(view, index, role, operand))
        body = f"    {kernel.name}({', '.join(pointers)}, {view.y.at(1, 0)});\n"
        return LayerCode((*helpers, kernel), tuple(constants), body)


def _pointer(view: TaskView, index: int, role: str, operand: Operand) -> str:
    """C expression of where a step finds an operand."""
    rows = view.inputs[index]
    if operand.is_by_rows:
        assert rows is not None
        return rows.at(1, 0)
    base = view.constant(role) if rows is None else rows.whole()
    stride = operand.strides[1] if view.y.type.rows > 1 else 0
    return f"{base} + step * {stride}u" if stride else base


KERNELS = (BatchMatmulRows(),)
