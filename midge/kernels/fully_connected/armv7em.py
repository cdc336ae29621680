"""Fully connected layers for cores with the DSP extension: four outputs share the widened inputs."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import requantize_armv7em
from midge.kernels.assembly import core_loop_bytes
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads
from midge.kernels.conv2d.armv7em import pair_helpers
from midge.kernels.fully_connected import wide
from midge.kernels.fully_connected.portable import FullyConnectedS8, dense_steps
from midge.kernels.layouts import NATURAL, WIDE
from midge.kernels.quantized import ChannelScaling
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


class FullyConnectedS8Smlad(FullyConnectedS8):
    """Blocks of 4 outputs; rows of weights are filled with zeros to whole words."""

    name: ClassVar[str] = "fully_connected_s8_smlad__armv7em"
    template: ClassVar[str] = "fully_connected/armv7em_s8.c.j2"
    run_multiple: ClassVar[int] = 4

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *pair_helpers())


class FullyConnectedS8Wide(Kernel):
    """In assembly, on inputs that are widened already; blocks of 6 outputs."""

    name: ClassVar[str] = "fully_connected_s8_wide__armv7em"
    op = FullyConnected
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = FullyConnectedS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        x = graph.type(node.inputs[0] or "")
        if x.elements != weights.shape[1] or x.rows != 1:
            return "it has more than one vector"
        return None if requantized(node, graph, self.layout) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = Reads(WIDE, over_bytes=-graph.type(node.inputs[0] or "").elements % 4 * 2)
        return Binding(self, (x, None, None)[: len(node.inputs)], (self.layout,), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, self.layout)
        assert weights is not None and form is not None
        shape = wide.Shape(weights.shape[1], weights.shape[0], core_loop_bytes(view.core))
        name = f"{view.prefix}_{self.name}_i{shape.inputs}o{shape.outputs}{form.key}"
        kernel = wide.function(name, shape, form, f"Fully connected: {shape.inputs} values in, {shape.outputs} out.")
        stream = Constant("weights", wide.weight_stream(weights, shape, form), 4)
        body = f"    {name}({view.x.whole()}, {view.y.whole()}, {view.constant('weights')});\n"
        return LayerCode((kernel,), (stream,), body)


class FullyConnectedS8WideToWide(FullyConnectedS8Wide):
    """The same; the next layer's inputs are widened here."""

    name: ClassVar[str] = "fully_connected_s8_wide_to_wide__armv7em"
    layout = WIDE


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The requantisation of a fully connected layer of widened inputs."""
    assert WIDE.fraction_bits is not None
    return requantize_armv7em.requantized(
        node, graph, layout, channel_axis=0, is_centred=True, fraction_bits=WIDE.fraction_bits
    )


KERNELS = (FullyConnectedS8WideToWide(), FullyConnectedS8Wide(), FullyConnectedS8Smlad())
