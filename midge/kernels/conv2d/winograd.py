"""Winograd's convolution for cores with the DSP extension: fewer products, for larger weights."""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, Node
from midge.kernels import render, requantize_armv7em
from midge.kernels.assembly import core_loop_bytes
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Kernel, LayerCode, Layout, Offer, Step, row_steps
from midge.kernels.conv2d import wide, winograd_bytes, winograd_code, winograd_cost, winograd_form
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.conv2d.winograd_form import Shape
from midge.kernels.layouts import NATURAL, PLANES, WIDE
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core

_MOST_OFFSET = 4095


class Conv2DS8Winograd(Kernel):
    """On widened rows: F(2,3) along the row, or F(2x2,3x3), which makes two rows in a step.

    Accumulators are those of the plain convolution, so they are scaled in the same form.
    """

    op = Conv2D
    most_pitch_bytes = NEAR_PITCH

    def __init__(self, variant: str, layout: Layout, *, planar: bool, from_bytes: bool = False) -> None:
        form = f"{'2x2' if planar else '1x2'}{'_bytes' if from_bytes else ''}"
        self.name = f"conv2d_s8_winograd{form}{variant}__armv7em"
        self.layout = layout
        self.planar = planar
        self.from_bytes = from_bytes

    def shape(self, window: Window, loop_bytes: int) -> Shape:
        return winograd_form.shape_of(window, loop_bytes, planar=self.planar, from_bytes=self.from_bytes)

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if window.kw != 3 or window.stride_w != 1:
            return "a row of taps is not three taps of stride 1"
        if self.planar and (window.kh, window.stride_h, window.dilation_h) != (3, 1, 1):
            return "its taps are not 3x3 of stride 1"
        if window.y.channels % 2:
            return "it makes an odd number of channels"
        if window.y.columns < 2 or (self.planar and window.y.rows < 2):
            return "the result is smaller than a tile"
        if _reaches_far(self.shape(window, core_loop_bytes(core)), window):
            return "its pixels lie too far apart"
        return None if self.requantized(node, graph) is not None else "no requantisation in 32 bits"

    def requantized(self, node: Node, graph: Graph) -> Requantization | None:
        """That of the plain convolution: halved inputs and doubled weights leave the point where it is."""
        assert WIDE.fraction_bits is not None
        return requantize_armv7em.requantized(
            node, graph, self.layout, channel_axis=0, is_centred=True, fraction_bits=WIDE.fraction_bits
        )

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        shape = self.shape(window, 0)
        reads = replace(window.reads(over_bytes=shape.over_bytes), layout=WIDE)
        if self.planar:
            steps = _square_steps(node, graph, window)
            last = steps[-1].needs[0]
            assert last is not None
            reads = replace(reads, bottom=max(0, last[1] + 1 - window.x.rows))
        else:
            steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps, shape.scratch_bytes,
                       keeps_scratch=False)  # fmt: skip

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = self.requantized(view.node, view.graph)
        assert weights is not None and form is not None
        shape = self.shape(window, core_loop_bytes(view.core))
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else view.y.pitch_key
        name = f"{view.prefix}_{self.name}_{window.key}{form.key}{plane}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        writer = winograd_bytes if self.from_bytes else winograd_code
        kernel = writer.function(name, shape, form, view.y, title)
        body = render.render(
            "conv2d/winograd_layer.c.j2", view=view, window=window, call=name, rows=shape.rows,
            scale=2 if self.planar else window.stride_h, offset=-window.padding.top, dilation=window.dilation_h,
            rows_made=2 if self.planar else 1, last_is_single=window.y.rows % 2 == 1,
        )  # fmt: skip
        stream = winograd_form.weight_stream(weights, shape, form)
        return LayerCode((kernel,), (Constant("weights", stream, 4),), body)


_LAYOUTS = {"": NATURAL, "_to_wide": WIDE, "_to_planes": PLANES}
WINOGRAD_KERNELS = tuple(
    Conv2DS8Winograd(variant, layout, planar=planar, from_bytes=from_bytes)
    for planar, from_bytes in ((False, False), (True, False), (True, True))
    for variant, layout in _LAYOUTS.items()
)


def winograd_offers(node: Node, graph: Graph, core: Core, plain: Kernel, plain_shape: wide.Shape) -> tuple[Offer, ...]:
    """Faster kernels in place of a plain one, which reads weights of 8 bits."""
    window = conv2d_window(node, graph)
    layout = plain.bind(node, graph).writes[0]
    offers = []
    for kernel in WINOGRAD_KERNELS:
        if kernel.layout != layout or kernel.refuse(node, graph, core) is not None:
            continue
        shape = kernel.shape(window, core_loop_bytes(core))
        saved_cycles = winograd_cost.saved_cycles(window, shape, core)
        extra_bytes = winograd_cost.extra_bytes(window, shape, plain_shape)
        if saved_cycles > 0:
            offers.append(Offer(kernel, extra_bytes, saved_cycles, extra_ram_bytes=shape.scratch_bytes))
    return tuple(offers)


def _square_steps(node: Node, graph: Graph, window: Window) -> tuple[Step, ...]:
    """A step for each two rows of the result, the last for one where their number is odd."""
    others = (None,) * (len(graph.input_types(node)) - 1)
    return tuple(
        Step(((row - window.padding.top, row - window.padding.top + 3), *others), min(2, window.y.rows - row))
        for row in range(0, window.y.rows, 2)
    )


def _reaches_far(shape: Shape, window: Window) -> bool:
    """True where an offset would leave the 12 bits of a load or store."""
    columns = (shape.block_columns + 2) * shape.pixel_bytes + shape.over_bytes
    weights = 2 * shape.line_bytes + 24 * shape.steps if shape.from_bytes else 0
    frame = 4 * (16 * shape.tiles + shape.rows + 32)
    return max(columns, 3 * shape.pass_bytes + 16, frame, weights, 2 * window.y.channels + 4) > _MOST_OFFSET
