"""Convolution on rows as they are, for cores with the DSP extension: each step widens its rows, then works on those.

A ring of widened rows takes twice the RAM of one of bytes. Where that is dear, the ring stays as it is, and the rows of
one step lie widened in working memory that all layers share. A row is widened as often as it is read, which costs about
three cycles for each value: little beside the products of a convolution of many channels.
"""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, Node
from midge.kernels.assembly import Assembly
from midge.kernels.base import NEAR_PITCH, Binding, Function, Kernel, LayerCode, Offer
from midge.kernels.conv2d.portable import conv2d_window
from midge.kernels.layouts import NATURAL, WIDE
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core

GROUP = 4
"""Values that are widened at once."""
_REGISTERS = {
    "x": "r0", "y": "r1", "groups": "r2", "zero": "r3", "a": "r4", "b": "r5", "c": "r6", "d": "r7", "t": "r12",
}  # fmt: skip


class Conv2DS8Widened(Kernel):
    """A kernel for widened rows, on rows that its steps widen."""

    op = Conv2D
    most_pitch_bytes = NEAR_PITCH

    def __init__(self, name: str, inner: Kernel) -> None:
        self.name = name
        self.inner = inner

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        return self.inner.refuse(node, graph, core)

    def bind(self, node: Node, graph: Graph) -> Binding:
        window, inner = conv2d_window(node, graph), self.inner.bind(node, graph)
        wide = inner.reads[0]
        assert wide is not None
        reads = replace(window.reads(over_bytes=GROUP - 1), layout=NATURAL)
        scratch_bytes = window.kh * row_bytes(window) + wide.over_bytes + inner.scratch_bytes
        return replace(
            inner, kernel=self, reads=(reads, *inner.reads[1:]), scratch_bytes=scratch_bytes, keeps_scratch=False
        )

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        from midge.kernels.conv2d.paired import paired_offers

        return paired_offers(node, graph, core, self, widens=True)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        code, widen = self.inner.emit(view), widen_function(f"{view.prefix}_widen_s8__armv7em")
        helpers, body = window.layer(
            "conv2d/widened_layer.c.j2", view, widen=widen.name, call=code.functions[-1].name,
            row_values=row_bytes(window) // 2, groups=row_bytes(window) // (2 * GROUP),
            zero=widened_zero(view.x.type.zero_point),
        )  # fmt: skip
        return LayerCode((*helpers, widen, *code.functions), code.constants, body)


def widened_zero(zero_point: int) -> int:
    """What zero becomes, for q + 128, in both halves of a word."""
    return (zero_point + 128) * 2 ** (WIDE.fraction_bits or 0) * 65537


def row_bytes(window: Window) -> int:
    """A widened row with its padding, filled up to whole groups."""
    values = (window.padding.left + window.x.columns + window.right) * window.x.channels
    return -(-values // GROUP) * GROUP * 2


def widen_function(name: str) -> Function:
    """`void name(const int8_t *x, int16_t *y, uint32_t groups, uint32_t zero)`: groups of four values into WIDE.

    `zero` is `widened_zero`. Bytes are made unsigned by their top bit, so that nothing
    of one half gets into the other when both are shifted.
    """
    code = Assembly(name, "Widen a row: (q - zero point) * 2^6 in 16 bits.", _REGISTERS)
    bits = WIDE.fraction_bits
    with code.loop("next four values") as label:
        code.ops([
            "ldr {a}, [{x}], #4",
            "eor {a}, {a}, #0x80808080",
            "uxtb16 {b}, {a}",
            "uxtb16 {c}, {a}, ror #8",
            f"lsl {{t}}, {{b}}, #{bits}",
            f"lsl {{d}}, {{c}}, #{bits}",
            f"pkhbt {{a}}, {{t}}, {{c}}, lsl #{16 + (bits or 0)}",
            f"pkhtb {{b}}, {{d}}, {{b}}, asr #{16 - (bits or 0)}",
            "ssub16 {a}, {a}, {zero}",
            "ssub16 {b}, {b}, {zero}",
            "subs {groups}, #1",
            "strd {a}, {b}, [{y}], #8",
            f"bne {label}",
        ])  # fmt: skip
    return code.function(f"void {name}(const int8_t *x, int16_t *y, uint32_t groups, uint32_t zero)")
