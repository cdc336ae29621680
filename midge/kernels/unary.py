"""Kernels that make each value of a row from the value in the same place: by a table of bytes, or by an expression."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import ANY_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.view import Rows, TaskView, c_element
from midge.targets.records import Core

_BYTES = (DType.INT8, DType.UINT8, DType.BOOL)


class TableRows(Kernel):
    """One row a step, each byte of the result looked up by a byte of the operand: exact for any function of one byte.

    The table holds what the operator's reference says of each of the 256 operands. Other operands must be constants
    of one element.
    """

    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        y = graph.type(node.outputs[0])
        varying = _varying(node, graph)
        if len(varying) != 1:
            return f"{len(varying)} operands vary"
        x = graph.type(node.inputs[varying[0]] or "")
        if x.dtype not in _BYTES or y.dtype not in _BYTES:
            return f"{x.dtype.value} to {y.dtype.value} is not byte to byte"
        constants = [name for index, name in enumerate(node.inputs) if name and index not in varying]
        if x.shape != y.shape or any(graph.type(name).elements != 1 for name in constants):
            return "a constant has more than one element"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        (operand,) = _varying(node, graph)
        return _bind_rows(self, node, graph, operand)

    def emit(self, view: TaskView) -> LayerCode:
        (operand,) = _varying(view.node, view.graph)
        x, y = view.inputs[operand], view.y
        assert x is not None
        suffixes = y.dtype.suffix if x.dtype is y.dtype else f"{x.dtype.suffix}_{y.dtype.suffix}"
        kernel = render.function(
            "common/table.c.j2", f"midge_table_{suffixes}", x_element=x.dtype.c_name, y_element=y.dtype.c_name
        )
        body = rows_body(kernel.name, x, y, f"{view.constant('table')}, ")
        return LayerCode((kernel,), (Constant("table", byte_table(view.node, view.graph)),), body)


def byte_table(node: Node, graph: Graph) -> np.ndarray:
    """The results for the operand bytes 0x00 … 0xFF, by the operator's own reference."""
    (operand,) = _varying(node, graph)
    types: list[TensorType | None] = []
    arrays: list[np.ndarray | None] = []
    for index, name in enumerate(node.inputs):
        type_ = graph.type(name or "")
        if index == operand:
            types.append(replace(type_, shape=(256,)))
            arrays.append(np.arange(256, dtype=np.uint8).view(type_.dtype.numpy))
        else:
            data = graph.constant(name)
            assert data is not None
            types.append(replace(type_, shape=(1,)))
            arrays.append(data.reshape(1))
    (table,) = node.op.evaluate(arrays, types, [replace(graph.type(node.outputs[0]), shape=(256,))])
    return table


@dataclass(frozen=True, slots=True)
class Expression:
    """C text of one value of the result, made from `x[i]`, and the helper functions that it calls, callees first."""

    text: str
    helpers: tuple[Function, ...] = ()


class MapRows(Kernel):
    """One row a step, each value of the result by a C expression of the operand's."""

    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.values[node.inputs[0] or ""].is_constant:
            return "the operand is constant"
        return self.refuse_types(graph.type(node.inputs[0] or ""), graph.type(node.outputs[0]))

    @abstractmethod
    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        """Why the expression can't take these types."""

    @abstractmethod
    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        """What the kernel computes."""

    def bind(self, node: Node, graph: Graph) -> Binding:
        return _bind_rows(self, node, graph, 0)

    def emit(self, view: TaskView) -> LayerCode:
        expression = self.expression(view.node, view.x.type, view.y.type)
        kernel = render.specialised(
            "common/map.c.j2", self.name, x_element=c_element(view.x.dtype), y_element=c_element(view.y.dtype),
            value=expression.text, title=type(view.node.op).__name__,
        )  # fmt: skip
        body = rows_body(kernel.name, view.x, view.y)
        return LayerCode((*expression.helpers, kernel), (), body)


def rows_body(name: str, x: Rows, y: Rows, further: str = "") -> str:
    """Calls `name(x, y, <further>, count)` for a row; where pixels lie apart, for each pixel."""
    if not (x.pitch_key or y.pitch_key):
        return f"    {name}({x.at(1, 0)}, {y.at(1, 0)}, {further}{y.type.row_elements});\n"
    return render.render("common/pixels.c.j2", name=name, x=x, y=y, further=further, element=c_element)


def _varying(node: Node, graph: Graph) -> list[int]:
    """Positions of the operands that are no constants."""
    return [index for index, name in enumerate(node.inputs) if name is not None and not graph.values[name].is_constant]


def _bind_rows(kernel: Kernel, node: Node, graph: Graph, operand: int) -> Binding:
    """Row r of the result from row r of one operand, which may be overwritten."""
    types = graph.input_types(node)
    y = graph.type(node.outputs[0])
    reads = tuple(
        Reads(Layout(type_.dtype)) if index == operand and type_ else None for index, type_ in enumerate(types)
    )
    steps = row_steps(types, y, {operand: (1, 0, 1)})
    return Binding(kernel, reads, (Layout(y.dtype),), steps, in_place=(operand,))
