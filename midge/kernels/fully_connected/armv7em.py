"""Fully connected layers for cores with the DSP extension: four outputs share the widened inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render, requantize_armv7em, requantize_s16
from midge.kernels.assembly import core_loop_bytes, is_dual_issue
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads
from midge.kernels.conv2d.armv7em import offset_helpers, pair_helpers
from midge.kernels.fully_connected import long_s16, pairs, pairs_shared, wide
from midge.kernels.fully_connected.portable import FullyConnectedS8, FullyConnectedS16, dense_steps
from midge.kernels.layouts import CENTRED, NATURAL, NATURAL_S16, WIDE
from midge.kernels.quantized_s16 import Scaling, wide_scaling
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.requantize_s16 import RequantizationS16
from midge.kernels.results_armv7em import Results
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


class FullyConnectedS8Smlad(FullyConnectedS8):
    """Blocks of 4 outputs; rows of weights are filled with zeros to whole words."""

    name: ClassVar[str] = "fully_connected_s8_smlad__armv7em"
    template: ClassVar[str] = "fully_connected/armv7em_s8.c.j2"
    run_multiple: ClassVar[int] = 4

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *pair_helpers())


class FullyConnectedS8SmladOffset(FullyConnectedS8Smlad):
    """The same with weights of 16 bits, stored as bytes: the offset is added for free as they are widened."""

    name: ClassVar[str] = "fully_connected_s8_smlad_offset__armv7em"
    weights = DType.INT16

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *offset_helpers())


class FullyConnectedWide(Kernel):
    """In assembly, on inputs of 16 bits; blocks of 6 outputs."""

    op = FullyConnected
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""
    reads_layout: ClassVar[Layout]
    portable: ClassVar[FullyConnectedS8]

    @abstractmethod
    def form(self, node: Node, graph: Graph) -> Results | None:
        """From accumulators to results; None where there is no way in 32 bits."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = self.refuse_unless_vector(node, graph, core)
        if reason is not None:
            return reason
        return None if self.form(node, graph) is not None else "no requantisation in 32 bits"

    def refuse_unless_vector(self, node: Node, graph: Graph, core: Core) -> str | None:
        """Why a node is no layer of one vector of the kernel's type."""
        reason = self.portable.refuse(node, graph, core)
        if reason is not None:
            return reason
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        x = graph.type(node.inputs[0] or "")
        return "it has more than one vector" if x.elements != weights.shape[1] or x.rows != 1 else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = Reads(self.reads_layout, over_bytes=-graph.type(node.inputs[0] or "").elements % 4 * 2)
        return Binding(self, (x, None, None)[: len(node.inputs)], (self.layout,), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        weights, form = view.graph.constant(view.node.inputs[1]), self.form(view.node, view.graph)
        assert weights is not None and form is not None
        loop_bytes = min(core_loop_bytes(view.core), view.most_loop_bytes)
        shape = wide.Shape(weights.shape[1], weights.shape[0], loop_bytes)
        name = f"{view.prefix}_{self.name}_i{shape.inputs}o{shape.outputs}{form.key}"
        kernel = wide.function(name, shape, form, f"Fully connected: {shape.inputs} values in, {shape.outputs} out.")
        return _code(view, kernel, wide.weight_stream(weights, shape, form))


def _code(view: TaskView, kernel: Function, stream: np.ndarray) -> LayerCode:
    body = f"    {kernel.name}({view.x.whole()}, {view.y.whole()}, {view.constant('weights')});\n"
    return LayerCode((kernel,), (Constant("weights", stream, 4),), body)


class FullyConnectedS16Wide(FullyConnectedWide):
    """int16 as it is."""

    name: ClassVar[str] = "fully_connected_s16_wide__armv7em"
    layout = NATURAL_S16
    reads_layout = NATURAL_S16
    portable = FullyConnectedS16()

    def form(self, node: Node, graph: Graph) -> RequantizationS16 | None:
        return requantize_s16.requantized(node, graph, self.layout, channel_axis=0)


class FullyConnectedS16Long(FullyConnectedS16Wide):
    """With sums of 64 bits, scaled one after the other by plain C."""

    name: ClassVar[str] = "fully_connected_s16_long__armv7em"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = self.refuse_unless_vector(node, graph, core)
        if reason is not None:
            return reason
        return "sums of 32 bits do" if self.form(node, graph) is not None else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        scratch_bytes = 8 * graph.type(node.outputs[0]).elements
        return replace(super().bind(node, graph), scratch_bytes=scratch_bytes, keeps_scratch=False)

    def emit(self, view: TaskView) -> LayerCode:
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, FullyConnected)
        scaling = wide_scaling(view.node, view.graph, 0, op.rounding)
        shape = long_s16.Shape(weights.shape[1], weights.shape[0])
        sums = long_s16.function(f"{view.prefix}_{self.name}_i{shape.inputs}o{shape.outputs}", shape)
        scale = render.function(
            "fully_connected/scaled_sums.c.j2", f"midge_scaled_sums_o{shape.outputs}{scaling.key}",
            outputs=shape.outputs, scaling=scaling,
        )  # fmt: skip
        body = render.render(
            "fully_connected/long_layer.c.j2", view=view, sums=sums.name, scale=scale.name,
            roles=[constant.role for constant in scaling.scale_constants],
        )  # fmt: skip
        stream = Constant("weights", long_s16.weight_stream(weights, scaling.bias, shape), 4)
        return LayerCode((*scaling.helpers, sums, scale), (stream, *scaling.scale_constants), body)


class FullyConnectedS8Wide(FullyConnectedWide):
    """int8, widened."""

    name: ClassVar[str] = "fully_connected_s8_wide__armv7em"
    reads_layout = WIDE
    portable = FullyConnectedS8()
    fraction_bits: ClassVar[int] = WIDE.fraction_bits or 0
    """How fine the accumulators are that requantisation gets."""
    is_centred: ClassVar[bool] = True
    """Inputs come without their zero point."""

    def form(self, node: Node, graph: Graph) -> Requantization | None:
        return requantize_armv7em.requantized(
            node, graph, self.layout, channel_axis=0, is_centred=self.is_centred, fraction_bits=self.fraction_bits
        )


class FullyConnectedS8WideToWide(FullyConnectedS8Wide):
    """The same; the next layer's inputs are widened here."""

    name: ClassVar[str] = "fully_connected_s8_wide_to_wide__armv7em"
    layout = WIDE


class FullyConnectedS8Pairs(FullyConnectedS8Wide):
    """In assembly, weights two outputs to a half word: half as many widenings."""

    name: ClassVar[str] = "fully_connected_s8_pairs__armv7em"
    fraction_bits: ClassVar[int] = pairs.FRACTION_BITS
    widens: ClassVar[bool] = False
    """Inputs are bytes."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is not None:
            return reason
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        if not self.widens and weights.shape[1] % pairs.STEP_INPUTS:
            return "inputs that are no multiple of 4: what lies behind them may leave 16 bits with weights added"
        return pairs.refuse(weights)

    def bind(self, node: Node, graph: Graph) -> Binding:
        return Binding(self, (Reads(CENTRED), None, None)[: len(node.inputs)], (self.layout,), dense_steps(node, graph))

    def shared_family(self, node: Node, graph: Graph) -> Hashable:
        form = self.form(node, graph)
        assert form is not None
        return self.name, form.family, pairs.parameters_key(form)

    def emit(self, view: TaskView) -> LayerCode:
        if view.peers:
            return self._emit_shared(view)
        weights, form = view.graph.constant(view.node.inputs[1]), self.form(view.node, view.graph)
        assert weights is not None and form is not None
        outputs, inputs = weights.shape
        loop_bytes = min(core_loop_bytes(view.core), view.most_loop_bytes)
        shape = pairs.Shape(inputs, outputs, loop_bytes, is_dual_issue(view.core), self.widens)
        name = f"{view.prefix}_{self.name}_i{shape.inputs}o{shape.outputs}{form.key}{pairs.parameters_key(form)}"
        kernel = pairs.function(name, shape, form, f"Fully connected: {shape.inputs} values in, {shape.outputs} out.")
        return _code(view, kernel, pairs.weight_stream(weights, shape, form))

    def _shape(self, node: Node, view: TaskView) -> pairs_shared.Shape:
        outputs, inputs = view.graph.type(node.inputs[1] or "").shape
        weights = sum(view.graph.type(node.inputs[1] or "").elements for node, kernel in view.peers if kernel is self)
        most = _FEW_LOOP_BYTES if weights <= _FEW_WEIGHTS else _SHARED_LOOP_BYTES
        loop_bytes = min(core_loop_bytes(view.core), view.most_loop_bytes, most)
        return pairs_shared.Shape(inputs, outputs, loop_bytes, is_dual_issue(view.core), self.widens)

    def _emit_shared(self, view: TaskView) -> LayerCode:
        """One function for all layers of a family."""

        def member(node: Node) -> pairs_shared.Member:
            form = self.form(node, view.graph)
            assert form is not None
            return pairs_shared.Member(self._shape(node, view), form)

        own = member(view.node)
        members = [member(node) for node, kernel in view.peers if kernel is self]
        families = list(dict.fromkeys(one.family for one in members))
        shared = pairs_shared.shared([one for one in members if one.family == own.family])
        name = f"{view.prefix}_{self.name}_shared{families.index(own.family)}"
        kernel = pairs_shared.function(name, own, shared)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        return _code(view, kernel, pairs_shared.weight_stream(weights, own, shared))


class FullyConnectedS8PairsToCentred(FullyConnectedS8Pairs):
    """The same; the next layer's inputs are widened here."""

    name: ClassVar[str] = "fully_connected_s8_pairs_to_centred__armv7em"
    layout = CENTRED


class FullyConnectedS8Bytes(FullyConnectedS8Pairs):
    """The same on inputs as they are: each word of them is widened in the loop, so nothing is held twice in RAM."""

    name: ClassVar[str] = "fully_connected_s8_bytes__armv7em"
    widens = True
    is_centred = False

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = Reads(NATURAL, over_bytes=-graph.type(node.inputs[0] or "").elements % 4)
        return Binding(self, (x, None, None)[: len(node.inputs)], (self.layout,), dense_steps(node, graph))


class FullyConnectedS8BytesToCentred(FullyConnectedS8Bytes):
    """The same; the next layer's inputs are widened here."""

    name: ClassVar[str] = "fully_connected_s8_bytes_to_centred__armv7em"
    layout = CENTRED


_FEW_WEIGHTS, _FEW_LOOP_BYTES, _SHARED_LOOP_BYTES = 4096, 110, 240
"""Where a network has no more in such layers, a longer loop saves no time that counts. With several functions, of which
each has loops of its own, longer ones cost half a kilobyte for each 2 % of their cycles."""

KERNELS = (
    FullyConnectedS8PairsToCentred(), FullyConnectedS8Pairs(), FullyConnectedS8BytesToCentred(),
    FullyConnectedS8Bytes(), FullyConnectedS8WideToWide(), FullyConnectedS8Wide(), FullyConnectedS8Smlad(),
    FullyConnectedS8SmladOffset(), FullyConnectedS16Wide(), FullyConnectedS16Long(),
)  # fmt: skip
