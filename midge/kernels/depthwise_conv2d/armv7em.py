"""Depthwise convolution for cores with the DSP extension: four channels at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render, requantize_armv7em, requantize_s16
from midge.kernels.assembly import is_dual_issue
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, row_steps
from midge.kernels.depthwise_conv2d import channels, planes, shared, shared_code, wide_planes
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, DepthwiseConv2DS16, depthwise_window
from midge.kernels.layouts import CENTRED, NATURAL, NATURAL_S16, PLANES, PLANES_S16, WIDE, WIDE_PLANES
from midge.kernels.packed_scaling import LOW_BITS
from midge.kernels.quantized_s16 import Scaling
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.requantize_s16 import RequantizationS16
from midge.kernels.results_armv7em import Results
from midge.kernels.view import TaskView
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core


class DepthwiseConv2DS8Quad(DepthwiseConv2DS8):
    """One word brings a tap of four channels; channels past a multiple of four go one by one."""

    name: ClassVar[str] = "depthwise_conv2d_s8_quad__armv7em"
    reads_pitched = False
    most_pitch_bytes = 0
    template: ClassVar[str] = "depthwise_conv2d/armv7em_s8.c.j2"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        return "fewer than four channels" if window.x.channels < 4 else None

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        extra = ("load_s8x4", "even_bytes", "odd_bytes", "smlabb", "smlatt")
        return (*super().helpers(scaling), *(render.helper(name) for name in extra))


class DepthwiseConv2DS8Planes(Kernel):
    """In assembly, 3x3 on rows in planes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_planes__armv7em"
    op = DepthwiseConv2D
    most_pitch_bytes = NEAR_PITCH
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = DepthwiseConv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if (window.kh, window.kw, window.dilation_h, window.dilation_w) != (planes.TAPS, planes.TAPS, 1, 1):
            return "not 3x3"
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        if window.stride_w > 2:
            return "the stride is more than 2"
        if 6 * 2 * window.y.channels > 4095:
            return "its pixels lie too far apart"
        return None if requantized(node, graph, self.layout) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = replace(window.reads(over_bytes=8), layout=PLANES)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def shared_family(self, node: Node, graph: Graph) -> Hashable | None:
        member = _shared_member(node, graph, self)
        return None if member is None else member.family

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, self.layout)
        assert weights is not None and form is not None
        if view.peers and _shared_member(view.node, view.graph, self) is not None:
            return _emit_shared(view, self)
        shape = planes.shape_of(window, view.x.plane_bytes)
        name = f"{view.prefix}_{self.name}_{window.key}p{shape.plane_bytes}{view.y.pitch_key}{form.key}"
        title = f"Depthwise convolution 3x3: {shape.columns} pixels of {shape.channels} channels out."
        kernel = planes.function(name, shape, form, view.y, title)
        helpers, body = window.layer("conv2d/layer.c.j2", view, call=name, element="int8_t", constants=["weights"])
        return LayerCode((*helpers, kernel), (Constant("weights", planes.weight_stream(weights, form), 4),), body)


class DepthwiseConv2DS8PlanesToWide(DepthwiseConv2DS8Planes):
    """The same; the next layer's pixels are widened here."""

    name: ClassVar[str] = "depthwise_conv2d_s8_planes_to_wide__armv7em"
    layout = WIDE


class DepthwiseConv2DS8PlanesToCentred(DepthwiseConv2DS8Planes):
    """The same, without bits below the point."""

    name: ClassVar[str] = "depthwise_conv2d_s8_planes_to_centred__armv7em"
    layout = CENTRED


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The requantisation of a depthwise convolution of values that still have their zero point."""
    return requantize_armv7em.requantized(
        node, graph, layout, channel_axis=3, is_centred=False, fraction_bits=planes.FRACTION_BITS
    )


class DepthwiseConv2DWidePlanes(Kernel):
    """In assembly, k x k on rows of 16-bit values in planes."""

    op = DepthwiseConv2D
    reads_layout: ClassVar[Layout]
    fraction_bits: ClassVar[int]
    """What weights are shifted left by."""
    portable: ClassVar[DepthwiseConv2DS8]

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"depthwise_conv2d_{self.portable.dtype.suffix}_wide_planes{variant}__armv7em"
        self.layout = layout

    @abstractmethod
    def form(self, node: Node, graph: Graph) -> Results | None:
        """From accumulators to results; None where there is no way in 32 bits."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = self.portable.refuse(node, graph, core)
        if reason is not None:
            return reason
        window, form = depthwise_window(node, graph), self.form(node, graph)
        if form is None:
            return "no requantisation in 32 bits"
        shape = wide_planes.shape_of(window, 0, form, pairs_loads=is_dual_issue(core))
        if window.x.columns == 1:
            return "its rows are one pixel"
        if shape.multiplier > wide_planes.MOST_MULTIPLIER:
            return f"the depth multiplier is more than {wide_planes.MOST_MULTIPLIER}"
        if shape.most_pixels < 1:
            return "a row of taps has too many weights"
        if shape.most_pixels * 2 * window.y.channels > 4095:
            return "its pixels lie too far apart"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = replace(window.reads(over_bytes=4), layout=self.reads_layout)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights, form = view.graph.constant(view.node.inputs[1]), self.form(view.node, view.graph)
        assert weights is not None and form is not None
        shape = wide_planes.shape_of(window, view.x.plane_bytes, form, pairs_loads=is_dual_issue(view.core))
        name = f"{view.prefix}_{self.name}_{window.key}p{shape.plane_bytes}{view.y.pitch_key}{form.key}"
        size = f"{window.kh}x{window.kw}"
        title = f"Depthwise convolution {size}: {shape.columns} pixels of {window.y.channels} channels out."
        kernel = wide_planes.function(name, shape, form, view.y, title)
        helpers, body = window.layer("conv2d/layer.c.j2", view, call=name, element="midge_s16", constants=["weights"])
        stream = Constant("weights", wide_planes.weight_stream(weights, shape, form, self.fraction_bits), 4)
        return LayerCode((*helpers, kernel), (stream,), body)


class DepthwiseConv2DS8WidePlanes(DepthwiseConv2DWidePlanes):
    """int8, widened."""

    most_pitch_bytes = NEAR_PITCH

    reads_layout = WIDE_PLANES
    fraction_bits = wide_planes.FRACTION_BITS
    portable = DepthwiseConv2DS8()

    def form(self, node: Node, graph: Graph) -> Requantization | None:
        return requantize_armv7em.requantized(
            node, graph, self.layout, channel_axis=3, is_centred=True, fraction_bits=self.fraction_bits
        )

    def shared_family(self, node: Node, graph: Graph) -> Hashable | None:
        member = _shared_member(node, graph, self)
        return None if member is None else member.family

    def emit(self, view: TaskView) -> LayerCode:
        if view.peers and _shared_member(view.node, view.graph, self) is not None:
            return _emit_shared(view, self)
        return super().emit(view)


class DepthwiseConv2DS16Planes(DepthwiseConv2DWidePlanes):
    """int16 as it is."""

    reads_layout = PLANES_S16
    fraction_bits = 0
    portable = DepthwiseConv2DS16()

    def form(self, node: Node, graph: Graph) -> RequantizationS16 | None:
        return requantize_s16.requantized(node, graph, self.layout, channel_axis=3)


class DepthwiseConv2DChannels(Kernel):
    """In assembly, k x k on rows of 16-bit values, pixel after pixel: for rows of one pixel."""

    op = DepthwiseConv2D
    reads_layout: ClassVar[Layout]
    portable: ClassVar[DepthwiseConv2DS8]

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"depthwise_conv2d_{self.portable.dtype.suffix}_channels{variant}__armv7em"
        self.layout = layout

    @abstractmethod
    def form(self, node: Node, graph: Graph) -> Results | None:
        """From accumulators to results; None where there is no way in 32 bits."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = self.portable.refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        if window.x.channels % 2:
            return "an odd number of channels"
        if channels.shape_of(window, pairs_loads=False).farthest_bytes > 4095:
            return "its taps lie too far apart"
        return None if self.form(node, graph) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        reads = replace(window.reads(), layout=self.reads_layout)
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights, form = view.graph.constant(view.node.inputs[1]), self.form(view.node, view.graph)
        assert weights is not None and form is not None
        shape = channels.shape_of(window, pairs_loads=is_dual_issue(view.core))
        name = f"{view.prefix}_{self.name}_{window.key}{form.key}"
        title = (
            f"Depthwise convolution {window.kh}x{window.kw}: {shape.columns} pixels of {shape.channels} channels out."
        )
        kernel = channels.function(name, shape, form, view.y, title)
        helpers, body = window.layer("conv2d/layer.c.j2", view, call=name, element="midge_s16", constants=["weights"])
        stream = Constant("weights", channels.weight_stream(weights, shape, form), 4)
        return LayerCode((*helpers, kernel), (stream,), body)


class DepthwiseConv2DS8Channels(DepthwiseConv2DChannels):
    """int8, widened."""

    reads_layout = WIDE
    portable = DepthwiseConv2DS8()

    def form(self, node: Node, graph: Graph) -> Requantization | None:
        return requantize_armv7em.requantized(
            node, graph, self.layout, channel_axis=3, is_centred=True, fraction_bits=WIDE.fraction_bits or 0
        )


class DepthwiseConv2DS16Channels(DepthwiseConv2DChannels):
    """int16 as it is."""

    reads_layout = NATURAL_S16
    portable = DepthwiseConv2DS16()

    def form(self, node: Node, graph: Graph) -> RequantizationS16 | None:
        return requantize_s16.requantized(node, graph, self.layout, channel_axis=3)


def _shared_member(node: Node, graph: Graph, kernel: Kernel, low_bits: int = LOW_BITS[0]) -> shared.Member | None:
    """A node among those that may share a function; None where it can't."""
    is_wide = isinstance(kernel, DepthwiseConv2DS8WidePlanes)
    if not is_wide and not isinstance(kernel, DepthwiseConv2DS8Planes):
        return None
    window = depthwise_window(node, graph)
    form = requantize_armv7em.packed_requantized(
        node, graph, kernel.layout, channel_axis=3, is_centred=is_wide, fraction_bits=shared.FRACTION_BITS,
        low_bits=low_bits,
    )  # fmt: skip
    return None if form is None or shared.refuse(window) is not None else shared.Member(window, form, is_wide)


def _emit_shared(view: TaskView, kernel: Kernel) -> LayerCode:
    """One function for all layers of a family."""

    def members_with(low_bits: int) -> list[shared.Member]:
        found = [_shared_member(node, view.graph, peer, low_bits) for node, peer in view.peers]
        return [member for member in found if member is not None]

    low_bits = requantize_armv7em.best_low_bits(lambda bits: [member.form for member in members_with(bits)])
    members, own = members_with(low_bits), _shared_member(view.node, view.graph, kernel, low_bits)
    weights = view.graph.constant(view.node.inputs[1])
    assert own is not None and weights is not None
    families = list(dict.fromkeys(member.family for member in members))
    function = shared.shared([member for member in members if member.family == own.family])
    name = f"{view.prefix}_depthwise_conv2d_s8_shared{families.index(own.family)}__armv7em"
    code = shared_code.function(name, function, pairs_loads=is_dual_issue(view.core))
    stream = shared.weight_stream(weights, own, function, view.y, view.x.plane_bytes)
    element = "midge_s16" if own.is_wide else "int8_t"
    helpers, body = own.window.layer("conv2d/layer.c.j2", view, call=name, element=element, constants=["weights"])
    return LayerCode((*helpers, code), (Constant("weights", stream, 4),), body)


KERNELS = (
    DepthwiseConv2DS8WidePlanes("_to_wide", WIDE), DepthwiseConv2DS8WidePlanes("_to_centred", CENTRED),
    DepthwiseConv2DS8WidePlanes("", NATURAL),
    DepthwiseConv2DS8Channels("_to_wide", WIDE), DepthwiseConv2DS8Channels("", NATURAL),
    DepthwiseConv2DS8PlanesToWide(), DepthwiseConv2DS8PlanesToCentred(), DepthwiseConv2DS8Planes(),
    DepthwiseConv2DS8Quad(), DepthwiseConv2DS16Planes("", NATURAL_S16), DepthwiseConv2DS16Channels("", NATURAL_S16),
)  # fmt: skip
