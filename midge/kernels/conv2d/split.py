"""Convolution for the DSP extension, two channels to a half word of weights, which are split as they are read.

Such layers share one function (`shared`), which makes little code of many of them: they are candidates where RAM or
flash come first. Rows are centred already, of kernels of one row; or bytes, which each step widens into columns.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

from midge.ir.graph import Graph, Node
from midge.kernels import requantize_armv7em
from midge.kernels.assembly import core_loop_bytes
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d import column_order, columns, shared, shared_code
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.layouts import CENTRED, NATURAL, PLANES, WIDE_PLANES
from midge.kernels.packed_scaling import LOW_BITS
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core

LOOP_BYTES = 880
"""Code of the function's loops, at most, where a layer is alone."""


class Source(enum.Enum):
    """What the kernel reads, and where weights are while it does."""

    ROWS = ""
    """Centred rows."""
    BYTES = "_bytes"
    HELD = "_held"
    """Bytes; the weights of two channels lie in RAM while a row of them is made."""


class Conv2DS8Split(Kernel):
    """Scratch memory: columns, then weights that are held."""

    op = Conv2D
    shares_only = True

    def __init__(self, variant: str, layout: Layout, source: Source) -> None:
        self.name = f"conv2d_s8_split{source.value}{variant}__armv7em"
        self.layout = layout
        self.source = source

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        window, weights = conv2d_window(node, graph), graph.constant(node.inputs[1])
        assert weights is not None
        if self.source is Source.ROWS and window.kh > 1:
            return "more than one row of taps"
        if self.source is Source.HELD and _stays_in_cache(window, core):
            return "a pair's weights are read from flash once for a row anyway"
        reason = shared.refuse(window, weights) or column_order.refuse(window)
        if reason is not None:
            return reason
        return None if self._requantized(node, graph) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        member = self._member(node, graph)
        window = member.window
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        if self.source is Source.ROWS:
            over_bytes = 4 * member.steps - 2 * window.kw * window.x.channels
            reads, scratch_bytes = replace(window.reads(over_bytes=over_bytes), layout=CENTRED), 0
        else:
            reads = window.reads(over_bytes=column_order.GROUP - 1)
            scratch_bytes = column_order.scratch_bytes(window) + 4 * member.held_words
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps, scratch_bytes,
                       keeps_scratch=False)  # fmt: skip

    def shared_family(self, node: Node, graph: Graph) -> Hashable:
        return "split", self._member(node, graph).family

    def emit(self, view: TaskView) -> LayerCode:
        peers = [(node, kernel) for node, kernel in view.peers if isinstance(kernel, Conv2DS8Split)]
        found = {
            bits: [kernel._member(node, view.graph, bits) for node, kernel in peers or [(view.node, self)]]
            for bits in LOW_BITS
        }
        low_bits = max(LOW_BITS, key=lambda bits: sum(one.form.low_bits > 0 for one in found[bits]))
        members, own = found[low_bits], self._member(view.node, view.graph, low_bits)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        families = list(dict.fromkeys(one.family for one in members))
        loop_bytes = min(core_loop_bytes(view.core), 2 * view.most_loop_bytes, LOOP_BYTES)
        timing = view.core.timing
        byte_cycles = float(timing.get("flash_miss", 0)) / float(timing.get("flash_sector_bytes", 8))
        choices = list(shared.shared([one for one in members if one.family == own.family], byte_cycles))
        which = f"shared{families.index(own.family)}" if peers else f"split_{_digest(choices)}"
        name = f"{view.prefix}_conv2d_s8_{which}__armv7em"
        kernel, function = shared_code.function(name, choices, loop_bytes)
        stream = Constant("weights", shared.weight_stream(weights, own, function, view.y), 4)
        window = own.window
        if self.source is Source.ROWS:
            x = view.x.at(*window.tap_row(0), before=window.padding.left)
            held = ", 0" if function.holds else ""
            body = f"    {name}({x}, {view.y.at(1, 0)}, {view.constant('weights')}{held});\n"
            return LayerCode((kernel,), (stream,), body)
        put_in_columns = columns.function(view.prefix, window)
        held = ""
        if function.holds:
            at = column_order.scratch_bytes(window) // 2
            held = f", (int32_t *)(void *)(wide + {at})" if self.source is Source.HELD else ", 0"
        zero_point = view.x.type.zero_point
        helpers, body = window.layer(
            "conv2d/columns_layer.c.j2", view, call=name, columns=put_in_columns.name,
            arguments=column_order.arguments(window),
            zero=(-zero_point & 0xFFFF) * 0x10001, held=held,
        )  # fmt: skip
        return LayerCode((*helpers, put_in_columns, kernel), (stream,), body)

    def _member(self, node: Node, graph: Graph, low_bits: int = LOW_BITS[-1]) -> shared.Member:
        """A node that was not refused, among those that may share a function."""
        form = self._requantized(node, graph, low_bits)
        assert form is not None
        return shared.Member(
            conv2d_window(node, graph), form, self.source is not Source.ROWS, self.source is Source.HELD
        )

    def _requantized(self, node: Node, graph: Graph, low_bits: int = LOW_BITS[-1]) -> Requantization | None:
        """In packed words with so many low bits where that can be."""
        return requantize_armv7em.packed_requantized(
            node, graph, self.layout, channel_axis=0, is_centred=True, fraction_bits=shared.FRACTION_BITS,
            low_bits=low_bits,
        )  # fmt: skip


def _digest(choices: Sequence[shared.Shared]) -> str:
    """For the name of a function that no other layer shares: all that its text depends on."""
    return hashlib.sha256(repr(choices).encode()).hexdigest()[:8]


def _stays_in_cache(window: Window, core: Core) -> bool:
    """True where weights that were read for one block of pixels need not be read from flash for the next one."""
    if not core.timing.get("flash_miss"):
        return True
    weight_bytes = 2 * window.kw * column_order.column_values(window)
    return weight_bytes + _BESIDE_BYTES <= float(core.timing.get("read_cache_lines", 0)) * float(
        core.timing.get("read_cache_line_bytes", 32)
    )


_BESIDE_BYTES = 64
"""Of the cache: a pair's parameters, and what else is read."""
_LAYOUTS = {"": NATURAL, "_to_centred": CENTRED, "_to_planes": PLANES, "_to_wide_planes": WIDE_PLANES}
SPLIT_KERNELS = tuple(
    Conv2DS8Split(variant, layout, source) for source in Source for variant, layout in _LAYOUTS.items()
)
