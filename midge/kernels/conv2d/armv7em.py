"""Convolution for cores with the DSP extension (Cortex-M4, M7, M33): two products an instruction."""

from __future__ import annotations

import enum
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render, requantize_armv7em, requantize_s16, requantize_s16_long
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, Offer, row_steps
from midge.kernels.conv2d import wide, wide_code, wide_held
from midge.kernels.conv2d.paired import paired_offers
from midge.kernels.conv2d.pairs import PAIRS_KERNELS
from midge.kernels.conv2d.portable import Conv2DS8, conv2d_window, refuse_unless_dense
from midge.kernels.conv2d.split import SPLIT_KERNELS
from midge.kernels.conv2d.widened import Conv2DS8Widened
from midge.kernels.conv2d.winograd import winograd_offers
from midge.kernels.layouts import NATURAL, NATURAL_S16, PLANES, PLANES_S16, WIDE, WIDE_PLANES
from midge.kernels.quantized_s16 import Scaling
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.results_armv7em import Results
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


class Conv2DS8Smlad(Conv2DS8):
    """Blocks of 2 pixels by 2 channels; runs of weights are filled with zeros to whole words."""

    name: ClassVar[str] = "conv2d_s8_smlad__armv7em"
    template: ClassVar[str] = "conv2d/armv7em_s8.c.j2"
    run_multiple: ClassVar[int] = 4
    reads_pitched = False
    most_pitch_bytes = 0

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *pair_helpers())


class Conv2DS8SmladOffset(Conv2DS8Smlad):
    """The same with weights of 16 bits, stored as bytes: the offset is added for free as they are widened."""

    name: ClassVar[str] = "conv2d_s8_smlad_offset__armv7em"
    weights = DType.INT16

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *offset_helpers())


def offset_helpers() -> tuple[Function, ...]:
    """Widening of bytes with an addition."""
    return tuple(render.helper(name) for name in ("add_even_bytes", "add_odd_bytes"))


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


class Conv2DWide(Kernel):
    """In assembly, on rows of 16-bit values; blocks of up to 4 pixels by 2 channels."""

    op = Conv2D
    dtype: ClassVar[DType]
    reads_layout: ClassVar[Layout]

    def __init__(self, variant: str, layout: Layout, weights: Weights) -> None:
        self.name = f"conv2d_{self.dtype.suffix}_wide{weights.value}{variant}__armv7em"
        self.variant = variant
        self.layout = layout
        self.weights = weights

    @abstractmethod
    def form(self, node: Node, graph: Graph) -> Results | None:
        """From accumulators to results; None where there is no way in 32 bits."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core, self.dtype)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if wide.reaches_far(self.shape(window, core), (2 * window.y.channels,)):
            return "its pixels lie too far apart"
        return None if self.form(node, graph) is not None else "no requantisation in 32 bits"

    def shape(self, window: Window, core: Core) -> wide.Shape:
        """The shape of the code on a core: of two orders of its loops the faster one."""
        inside, outside = (
            wide.shape_of(window, core, self.weight_bits, pairs_outside=is_outside) for is_outside in (False, True)
        )
        fetch_cycles = self.pair_fetch_cycles(window, core)
        stays_in_cache = 2 * 4 * (window.kh * outside.run_words + _NUMBERS) <= _read_cache_bytes(core)
        if not fetch_cycles or not stays_in_cache:
            return inside
        return min(inside, outside, key=lambda shape: shape.row_cycles(fetch_cycles))

    def pair_fetch_cycles(self, window: Window, core: Core) -> float:
        """What it takes to read the weights of a pair of channels from a flash with wait states."""
        if self.weights is Weights.HELD:
            return 0
        weight_bytes = 2 * window.kh * window.kw * window.x.channels * self.weight_bits / 8
        return weight_bytes * _flash_byte_cycles(core)

    def row_cycles(self, window: Window, core: Core) -> float:
        """About what a row of the result takes."""
        return self.shape(window, core).row_cycles(self.pair_fetch_cycles(window, core))

    @property
    def weight_bits(self) -> int:
        """Of a weight when the code reads it."""
        return 8 if self.weights is Weights.BYTES else 16

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        steps_of_taps = wide.steps_of(window, self.weight_bits)
        reads = replace(window.reads(over_bytes=wide.over_bytes(window, steps_of_taps)), layout=self.reads_layout)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        held = 0
        if self.weights is Weights.HELD:
            form = self.form(node, graph)
            assert form is not None
            words = window.kh * sum(step.words * count for step, count in steps_of_taps)
            words += int(form.has_starts) + form.parameters.shape[1]
            held = 4 * window.y.channels * words
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps, scratch_bytes=held)

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        """Weights that are widened already, in flash or by the first step."""
        if self.weights is not Weights.BYTES:
            return ()
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        window = conv2d_window(node, graph)
        rows, row_cycles = window.y.rows, self.row_cycles(window, core)
        halves, held = (
            next(kernel for kernel in kernels if type(kernel) is type(self) and kernel.layout == self.layout)
            for kernels in (HALVES_KERNELS, HELD_KERNELS)
        )
        offers = [Offer(halves, weights.size, rows * (row_cycles - halves.row_cycles(window, core)))]
        if core.timing.get("flash_miss"):
            widening = weights.size * (_CYCLES_TO_WIDEN + _flash_byte_cycles(core))
            saved_cycles = rows * (row_cycles - held.row_cycles(window, core)) - widening
            extra_ram_bytes = held.bind(node, graph).scratch_bytes
            offers.append(Offer(held, 0, saved_cycles, extra_ram_bytes=extra_ram_bytes))
        return tuple(offer for offer in offers if offer.saved_cycles > 0)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = self.form(view.node, view.graph)
        assert weights is not None and form is not None
        shape = self.shape(window, view.core)
        shape = replace(shape, loop_bytes=min(shape.loop_bytes, view.most_loop_bytes))
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else view.y.pitch_key
        starts = "" if form.has_starts else "z"
        name = f"{view.prefix}_{self.name}_{window.key}{form.key}{starts}{plane}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel = wide_code.function(name, shape, form, view.y, title)
        names = {"view": view, "window": window, "call": name, "element": "midge_s16"}
        if self.weights is not Weights.HELD:
            helpers, body = window.layer(
                "conv2d/layer.c.j2", view, call=name, element="midge_s16", constants=["weights"]
            )
            return LayerCode(
                (*helpers, kernel), (Constant("weights", wide.weight_stream(weights, shape, form), 4),), body
            )
        widen = wide_held.function(shape, form)
        body = render.render("conv2d/held_layer.c.j2", **names, widen=widen.name)
        helpers = tuple(render.helper(name) for name in ("load_s8x4", "even_bytes", "odd_bytes"))
        constants = wide_held.constants(weights, shape, form)
        return LayerCode((*helpers, widen, kernel), constants, body)


class Conv2DS8Wide(Conv2DWide):
    """int8, on rows that are widened already."""

    most_pitch_bytes = NEAR_PITCH

    dtype = DType.INT8
    reads_layout = WIDE

    def form(self, node: Node, graph: Graph) -> Requantization | None:
        return requantized(node, graph, self.layout)

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        offers = super().faster(node, graph, core)
        if self.weights is not Weights.BYTES:
            return offers
        more = list(paired_offers(node, graph, core, self, widens=False))
        more += winograd_offers(node, graph, core, self, self.shape(conv2d_window(node, graph), core))
        return (*offers, *(offer for offer in more if offer.saved_cycles > 0))


class Conv2DS16Wide(Conv2DWide):
    """int16, on rows as they are."""

    dtype = DType.INT16
    reads_layout = NATURAL_S16

    def form(self, node: Node, graph: Graph) -> Results | None:
        return requantize_s16.requantized(node, graph, self.layout, channel_axis=0)


class Conv2DS16Long(Conv2DS16Wide):
    """The same where sums need 64 bits; weights are widened in flash."""

    def __init__(self, variant: str, layout: Layout) -> None:
        super().__init__(variant, layout, Weights.HALVES)
        self.name = f"conv2d_s16_long{variant}__armv7em"

    def form(self, node: Node, graph: Graph) -> Results | None:
        return requantize_s16_long.requantized(node, graph, self.layout, channel_axis=0)

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is not None:
            return reason
        return "sums of 32 bits do" if super().form(node, graph) is not None else None

    def shape(self, window: Window, core: Core) -> wide.Shape:
        halves = -(-window.kw * window.x.channels // 2)
        return replace(super().shape(window, core), steps=((wide.Step.HALF, halves),), is_long=True)


def _read_cache_bytes(core: Core) -> int:
    """Of the cache of data in front of a flash with wait states."""
    return int(core.timing.get("read_cache_lines", 0)) * int(core.timing.get("read_cache_line_bytes", 32))


def _flash_byte_cycles(core: Core) -> float:
    """What a byte costs that is read from flash in the order it lies there (docs/timing.md, "Memory")."""
    table = core.timing
    if not table.get("flash_miss"):
        return 0
    entries = ("read_miss_next", "read_miss", "flash_miss_next", "flash_miss")
    miss = next(float(table[name]) for name in entries if name in table)
    return miss / (float(table.get("flash_sector_bytes", 8)) if _read_cache_bytes(core) else _WORD_BYTES)


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The requantisation of a convolution of widened rows."""
    assert WIDE.fraction_bits is not None
    return requantize_armv7em.requantized(
        node, graph, layout, channel_axis=0, is_centred=True, fraction_bits=WIDE.fraction_bits
    )


_LAYOUTS = {"": NATURAL, "_to_wide": WIDE, "_to_planes": PLANES, "_to_wide_planes": WIDE_PLANES}
_LAYOUTS_S16 = {"": NATURAL_S16, "_to_planes": PLANES_S16}
HALVES_KERNELS, HELD_KERNELS = (
    (
        *(Conv2DS8Wide(variant, layout, weights) for variant, layout in _LAYOUTS.items()),
        *(Conv2DS16Wide(variant, layout, weights) for variant, layout in _LAYOUTS_S16.items()),
    )
    for weights in (Weights.HALVES, Weights.HELD)
)
"""Faster for more flash or RAM: the planner takes them where that is worth it."""

_WORD_BYTES = 4
_NUMBERS = 4
"""Start values and parameters of a channel: at most so many words."""
_CYCLES_TO_WIDEN = 2
"""For a weight, about."""

WIDE_KERNELS = tuple(Conv2DS8Wide(variant, layout, Weights.BYTES) for variant, layout in _LAYOUTS.items())
S16_KERNELS = (
    *(Conv2DS16Wide(variant, layout, Weights.BYTES) for variant, layout in _LAYOUTS_S16.items()),
    *(Conv2DS16Long(variant, layout) for variant, layout in _LAYOUTS_S16.items()),
)
KERNELS = (
    *PAIRS_KERNELS,
    *WIDE_KERNELS,
    *SPLIT_KERNELS,
    *(Conv2DS8Widened(f"conv2d_s8_widened{kernel.variant}__armv7em", kernel) for kernel in WIDE_KERNELS),
    Conv2DS8Smlad(),
    Conv2DS8SmladOffset(),
    *S16_KERNELS,
)
