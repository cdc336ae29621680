"""Convolution for cores with the DSP extension (Cortex-M4, M7, M33): two products an instruction."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render, requantize_armv7em
from midge.kernels.assembly import core_loop_bytes
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Offer, row_steps
from midge.kernels.conv2d import wide
from midge.kernels.conv2d.portable import Conv2DS8, conv2d_window
from midge.kernels.conv2d.winograd import Conv2DS8Winograd
from midge.kernels.layouts import NATURAL, PLANES, WIDE
from midge.kernels.quantized import ChannelScaling
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


class Conv2DS8Smlad(Conv2DS8):
    """Blocks of 2 pixels by 2 channels; runs of weights are filled with zeros to whole words."""

    name: ClassVar[str] = "conv2d_s8_smlad__armv7em"
    template: ClassVar[str] = "conv2d/armv7em_s8.c.j2"
    run_multiple: ClassVar[int] = 4

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *pair_helpers())


def pair_helpers() -> tuple[Function, ...]:
    """Loads of four bytes, their widening to pairs of halves, and the product of pairs."""
    return tuple(render.helper(name) for name in ("load_s8x4", "even_bytes", "odd_bytes", "smlad"))


class Conv2DS8Wide(Kernel):
    """In assembly, on rows that are widened already; blocks of 3 pixels by 2 channels."""

    op = Conv2D

    def __init__(self, variant: str, layout: Layout, weight_bits: int) -> None:
        self.name = f"conv2d_s8_wide{variant}__armv7em"
        self.layout = layout
        self.weight_bits = weight_bits

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = Conv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        if weights.shape[3] != window.x.channels or window.dilation_w != 1:
            return "it has groups or dilated rows"
        shape = wide.shape_of(window, core_loop_bytes(core), self.weight_bits)
        if wide.reaches_far(shape, (2 * window.y.channels,)):
            return "its pixels lie too far apart"
        return None if requantized(node, graph, self.layout) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        over = wide.shape_of(window, 0, self.weight_bits).run_bytes - window.kw * window.x.channels * 2
        reads = replace(window.reads(over_bytes=over), layout=WIDE)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        if self.weight_bits == 16:
            return ()
        kernel = next(kernel for kernel in WIDER_KERNELS if kernel.layout == self.layout)
        offers = [Offer(kernel, weights.size, graph.macs(node) / _MACS_TO_SAVE_A_CYCLE)]
        offers += [
            Offer(kernel, 3 * weights.size, 0.3 * graph.macs(node))
            for kernel in WINOGRAD_KERNELS
            if kernel.layout == self.layout and kernel.refuse(node, graph, core) is None
        ]
        return tuple(offers)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, self.layout)
        assert weights is not None and form is not None
        shape = wide.shape_of(window, core_loop_bytes(view.core), self.weight_bits)
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else ""
        name = f"{view.prefix}_{self.name}_{window.key}{form.key}{plane}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel = wide.function(name, shape, form, view.y, title)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="midge_s16",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", wide.weight_stream(weights, shape, form), 4),), body)


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The requantisation of a convolution of widened rows."""
    assert WIDE.fraction_bits is not None
    return requantize_armv7em.requantized(
        node, graph, layout, channel_axis=0, is_centred=True, fraction_bits=WIDE.fraction_bits
    )


_LAYOUTS = {"": NATURAL, "_to_wide": WIDE, "_to_planes": PLANES}
WIDER_KERNELS = tuple(Conv2DS8Wide(f"16{variant}", layout, 16) for variant, layout in _LAYOUTS.items())
"""The same with weights widened already: faster, for twice the flash. The planner takes them where that is worth it."""

WINOGRAD_KERNELS = tuple(
    Conv2DS8Winograd(variant, layout, planar=planar) for planar in (False, True) for variant, layout in _LAYOUTS.items()
)
"""Fewer products, for 2.7 to 3.6 times the flash."""

_MACS_TO_SAVE_A_CYCLE = 12
"""Of the largest block's 24 products, widened weights save two instructions."""

KERNELS = (*(Conv2DS8Wide(variant, layout, 8) for variant, layout in _LAYOUTS.items()), Conv2DS8Smlad())
