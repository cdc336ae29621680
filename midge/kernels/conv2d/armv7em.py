"""Convolution for cores with the DSP extension (Cortex-M4, M7, M33): two products an instruction."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render, requantize_armv7em
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Offer, row_steps
from midge.kernels.conv2d import wide, wide_code, wide_held
from midge.kernels.conv2d.portable import Conv2DS8, conv2d_window
from midge.kernels.conv2d.winograd import winograd_offers
from midge.kernels.layouts import NATURAL, PLANES, WIDE
from midge.kernels.quantized import ChannelScaling
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.kernels.window import Window
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


class Weights(enum.Enum):
    """How the weights of a convolution on widened rows lie in memory."""

    BYTES = ""
    HALVES = "16"
    """Widened already: faster, for twice the flash."""
    HELD = "_held"
    """Bytes in flash; the first step widens them into RAM."""


class Conv2DS8Wide(Kernel):
    """In assembly, on rows that are widened already; blocks of up to 4 pixels by 2 channels."""

    op = Conv2D

    def __init__(self, variant: str, layout: Layout, weights: Weights) -> None:
        self.name = f"conv2d_s8_wide{weights.value}{variant}__armv7em"
        self.variant = variant
        self.layout = layout
        self.weights = weights

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = Conv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        if weights.shape[3] != window.x.channels or window.dilation_w != 1:
            return "it has groups or dilated rows"
        if wide.reaches_far(self.shape(window, core), (2 * window.y.channels,)):
            return "its pixels lie too far apart"
        return None if requantized(node, graph, self.layout) is not None else "no requantisation in 32 bits"

    def shape(self, window: Window, core: Core) -> wide.Shape:
        """The shape of the code on a core."""
        return wide.shape_of(window, core, self.weight_bits, pairs_outside=self.reads_weights_once(window, core))

    def reads_weights_once(self, window: Window, core: Core) -> bool:
        """Flash has wait states, and the weights of a pair of channels stay in its cache while a row is made."""
        table = core.timing
        if not table.get("flash_miss") or self.weights is Weights.HELD:
            return False
        cache_bytes = int(table.get("read_cache_lines", 0)) * int(table.get("read_cache_line_bytes", 0))
        full_steps, half_steps = wide.full_and_half_steps(window, self.weight_bits)
        return 2 * 4 * (window.kh * (full_steps + half_steps) + _NUMBERS) <= cache_bytes

    @property
    def weight_bits(self) -> int:
        """Of a weight when the code reads it."""
        return 8 if self.weights is Weights.BYTES else 16

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        full_steps, half_steps = wide.full_and_half_steps(window, self.weight_bits)
        over_bytes = 8 * full_steps + 4 * half_steps - window.kw * window.x.channels * 2
        reads = replace(window.reads(over_bytes=over_bytes), layout=WIDE)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        held = 0
        if self.weights is Weights.HELD:
            form = requantized(node, graph, self.layout)
            assert form is not None
            words = int(form.has_starts) + window.kh * half_steps + form.parameters.shape[1]
            held = 4 * window.y.channels * words
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps, scratch_bytes=held)

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        if self.weights is not Weights.BYTES:
            return ()
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        saved_cycles = graph.macs(node) / _MACS_TO_SAVE_A_CYCLE
        window = conv2d_window(node, graph)
        halves = next(kernel for kernel in HALVES_KERNELS if kernel.layout == self.layout)
        loses_cache = self.reads_weights_once(window, core) and not halves.reads_weights_once(window, core)
        offers = [] if loses_cache else [Offer(halves, weights.size, saved_cycles)]
        miss, sector_bytes = float(core.timing.get("flash_miss", 0)), float(core.timing.get("flash_sector_bytes", 8))
        if miss:
            held = next(kernel for kernel in HELD_KERNELS if kernel.layout == self.layout)
            y = graph.type(node.outputs[0])
            once = weights.size * miss / sector_bytes
            saved_cycles += once * (y.rows - 1) - weights.size * _CYCLES_TO_WIDEN
            extra_ram_bytes = held.bind(node, graph).scratch_bytes
            offers.append(Offer(held, 0, saved_cycles, extra_ram_bytes=extra_ram_bytes))
        return (*offers, *winograd_offers(node, graph, core, self, self.shape(conv2d_window(node, graph), core)))

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, self.layout)
        assert weights is not None and form is not None
        shape = self.shape(window, view.core)
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else ""
        starts = "" if form.has_starts else "z"
        name = f"{view.prefix}_{self.name}_{window.key}{form.key}{starts}{plane}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel = wide_code.function(name, shape, form, view.y, title)
        names = {"view": view, "window": window, "call": name, "element": "midge_s16"}
        if self.weights is not Weights.HELD:
            body = render.render("conv2d/layer.c.j2", **names, constants=["weights"])
            return LayerCode((kernel,), (Constant("weights", wide.weight_stream(weights, shape, form), 4),), body)
        widen = wide_held.function(shape, form)
        body = render.render("conv2d/held_layer.c.j2", **names, widen=widen.name)
        helpers = tuple(render.helper(name) for name in ("load_s8x4", "even_bytes", "odd_bytes"))
        constants = wide_held.constants(weights, shape, form)
        return LayerCode((*helpers, widen, kernel), constants, body)


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The requantisation of a convolution of widened rows."""
    assert WIDE.fraction_bits is not None
    return requantize_armv7em.requantized(
        node, graph, layout, channel_axis=0, is_centred=True, fraction_bits=WIDE.fraction_bits
    )


_LAYOUTS = {"": NATURAL, "_to_wide": WIDE, "_to_planes": PLANES}
HALVES_KERNELS = tuple(Conv2DS8Wide(variant, layout, Weights.HALVES) for variant, layout in _LAYOUTS.items())
HELD_KERNELS = tuple(Conv2DS8Wide(variant, layout, Weights.HELD) for variant, layout in _LAYOUTS.items())
"""Faster for more flash or RAM: the planner takes them where that is worth it."""

_MACS_TO_SAVE_A_CYCLE = 12
"""Of the largest block's 24 products, widened weights save two instructions."""
_NUMBERS = 4
"""Start values and parameters of a channel: at most so many words."""
_CYCLES_TO_WIDEN = 2
"""For a weight, about."""

KERNELS = (*(Conv2DS8Wide(variant, layout, Weights.BYTES) for variant, layout in _LAYOUTS.items()), Conv2DS8Smlad())
