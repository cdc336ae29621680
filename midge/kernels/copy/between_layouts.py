"""What the copies from one layout into another share."""

from __future__ import annotations

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels.base import Binding, Kernel, Layout, Reads, row_steps
from midge.ops.copy import Copy
from midge.targets.records import Core


class CopyBetweenLayouts(Kernel):
    """Values of a natural layout's type from one layout into another, row by row; an instruction set says how."""

    op = Copy

    def __init__(self, name: str, source: Layout, result: Layout) -> None:
        self.name = name
        self.source = source
        self.result = result
        self.dtype = source.dtype if source.is_natural else result.dtype if result.is_natural else DType.INT8

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not self.dtype:
            return f"not {self.dtype.value}"
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        steps = row_steps(graph.input_types(node), graph.type(node.outputs[0]), {0: (1, 0, 1)})
        return Binding(self, (Reads(self.source),), (self.result,), steps)
