"""Max pooling with Helium (Cortex-M55): 16 channels at a time."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.assembly import Assembly
from midge.kernels.base import Binding, Function, Kernel, LayerCode, Reads
from midge.kernels.layouts import NATURAL
from midge.kernels.pooling import pool_window, window_steps
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.base import quantized_bounds
from midge.ops.max_pool2d import MaxPool2D
from midge.targets.records import Core

_LANES = 16
_NEAREST = 127
_MOST_ROWS = 8
_MOST_TAPS = 64
_REGISTERS = {
    "rows": "r0", "out": "r1", "t": "r2", "pixels": "r3", **{f"p{row}": f"r{4 + row}" for row in range(_MOST_ROWS)},
    "turn": "lr", "most": "q0", "x": "q1", "low": "q2", "high": "q3",
}  # fmt: skip


class MaxPool2DVectors(Kernel):
    """In assembly: one output row from the rows of its window, where no window reaches into padding."""

    name: ClassVar[str] = "max_pool2d_s8_vectors__mve"
    op = MaxPool2D

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not DType.INT8:
            return "not int8"
        window, padding = pool_window(node, graph), pool_window(node, graph).padding
        if padding.top or padding.left or window.right or window.bottom:
            return "the window is padded"
        is_large = window.kh > _MOST_ROWS or window.kh * window.kw > _MOST_TAPS
        return "its window is too large" if is_large else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = pool_window(node, graph)
        reads = Reads(NATURAL, over_bytes=-window.x.channels % _LANES)
        return Binding(self, (reads,), (NATURAL,), window_steps(window))

    def emit(self, view: TaskView) -> LayerCode:
        window = pool_window(view.node, view.graph)
        assert isinstance(view.node.op, MaxPool2D)
        low, high = quantized_bounds(view.node.op.activation, window.y)
        name = f"{view.prefix}_{self.name}_{window.key}l{low}u{high}".replace("-", "n")
        kernel = _function(name, window, low, high)
        body = render.render("common/window_rows.c.j2", view=view, window=window, element="int8_t", full=True)
        body += f"    (void)count;\n    {name}(rows, {view.y.at(1, 0)});\n"
        return LayerCode((kernel,), (), body)


def _function(name: str, window: Window, low: int, high: int) -> Function:
    """The function `void name(const int8_t *const *rows, int8_t *out)`."""
    channels = window.x.channels
    title = f"Max pooling {window.kh}x{window.kw}: {window.y.columns} pixels of {channels} channels."
    code = Assembly(name, title, _REGISTERS)
    code.ops([f"ldr {{p{row}}}, [{{rows}}, #{4 * row}]" for row in range(window.kh)])
    clamps = [("low", low, -128, "vmax"), ("high", high, 127, "vmin")]
    clamps = [clamp for clamp in clamps if clamp[1] != clamp[2]]
    for vector, bound, _, _ in clamps:
        code.constant("t", bound)
        code.op(f"vdup.8 {{{vector}}}, {{t}}")
    whole, rest = divmod(channels, _LANES)
    if rest:
        code.constant("t", (1 << rest) - 1)
        code.op("vmsr p0, {t}", "lanes of the last channels")

    def block() -> None:
        _taps(code, window)
        for vector, _, _, operation in clamps:
            code.op(f"{operation}.s8 {{most}}, {{most}}, {{{vector}}}")

    code.constant("pixels", window.y.columns)
    with code.loop("next pixel") as label:
        if whole > 1:
            code.constant("t", whole)
            code.op("dls {turn}, {t}")
        if whole:
            with code.loop("next 16 channels") as again:
                block()
                code.op("vstrb.8 {most}, [{out}], #16")
                if whole > 1:
                    code.op(f"le {{turn}}, {again}")
        if rest:
            block()
            code.ops(["vpst", "vstrbt.8 {most}, [{out}]", f"add {{out}}, #{rest}"])
        for row in range(window.kh):
            code.add(f"p{row}", window.stride_w * channels - _LANES * (whole + (rest > 0)), "t")
        code.ops(["subs {pixels}, #1", f"bne {label}"])
    return code.function(f"void {name}(const int8_t *const *rows, int8_t *out)")


def _taps(code: Assembly, window: Window) -> None:
    """The largest of 16 channels' windows; the rows' pointers go on to the next channels."""
    is_first = True
    for row in range(window.kh):
        # The first column last, as its load moves the pointer.
        for column in reversed(range(window.kw)):
            at, vector = column * window.x.channels, "most" if is_first else "x"
            if column == 0:
                code.op(f"vldrb.u8 {{{vector}}}, [{{p{row}}}], #16")
            elif at <= _NEAREST:
                code.op(f"vldrb.u8 {{{vector}}}, [{{p{row}}}, #{at}]")
            else:
                code.constant("t", at)
                code.op(f"add {{t}}, {{p{row}}}")
                code.op(f"vldrb.u8 {{{vector}}}, [{{t}}]")
            if not is_first:
                code.op("vmax.s8 {most}, {most}, {x}")
            is_first = False


KERNELS = (MaxPool2DVectors(),)
