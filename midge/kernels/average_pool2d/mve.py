"""Average pooling with Helium (Cortex-M55): 8 channels at a time, summed in 16 bits."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels.assembly import Assembly
from midge.kernels.average_pool2d.portable import AveragePool2DAccumulate
from midge.kernels.base import Binding, Function, LayerCode, Reads
from midge.kernels.layouts import NATURAL
from midge.kernels.pooling import pool_window
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import quantized_bounds
from midge.targets.records import Core

_LANES = 8
_NEAREST = 127
_MOST_VALUES = 255
"""Times 128 their sum stays within 16 bits."""
_MOST_COLUMNS = 64
_REGISTERS = {
    "x": "r0", "sums": "r1", "tap": "r2", "out": "r3", "pixels": "r4", "blocks": "r5", "t": "r6", "factor": "r7",
    "half": "r8", "s": "q0", "v": "q1", "seen": "q2", "low": "q3", "high": "q4", "sign": "q5",
}  # fmt: skip


class AveragePool2DVectors(AveragePool2DAccumulate):
    """In assembly: one input row a step, added to sums; the window's last row gives the averages."""

    name: ClassVar[str] = "average_pool2d_s8_vectors__mve"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is not None:
            return reason
        if graph.type(node.outputs[0]).dtype is not DType.INT8:
            return "not int8"
        window = pool_window(node, graph)
        if window.kh * window.kw > _MOST_VALUES or window.kw > _MOST_COLUMNS:
            return "its window is too large"
        return None if _division(window.kh * window.kw) is not None else "no multiplication divides by its values"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = pool_window(node, graph)
        reads = Reads(NATURAL, over_bytes=-window.x.channels % _LANES)
        steps = super().bind(node, graph).steps
        return Binding(self, (reads,), (NATURAL,), steps, scratch_bytes=2 * _padded(window) * window.y.columns)

    def emit(self, view: TaskView) -> LayerCode:
        window = pool_window(view.node, view.graph)
        assert isinstance(view.node.op, AveragePool2D)
        low, high = quantized_bounds(view.node.op.activation, window.y)
        name = f"{view.prefix}_{self.name}_{window.key}l{low}u{high}".replace("-", "n")
        if window.y.rows == 1:
            row, tap, out = view.x.at(1, 0), "step", view.y.at(0, 0)
        else:
            number = f"step / {window.kh}u"
            row = view.x.at_row(f"({number} * {window.stride_h}u + step % {window.kh}u)")
            tap, out = f"step % {window.kh}u", view.y.at_row(f"({number})")
        call = f"    {name}({row}, (int16_t *)(void *)({view.scratch}), {tap}, {out});\n"
        return LayerCode((_function(name, window, low, high),), (), call)


def _padded(window: Window) -> int:
    return -(-window.x.channels // _LANES) * _LANES


def _division(count: int) -> tuple[int, int] | None:
    """(factor, shift) with `value * factor >> 16 >> shift` = value // count for all magnitudes of sums, each tried."""
    values = np.arange(128 * count + count // 2 + 1, dtype=np.int64)
    for shift in range(8):
        for factor in ((1 << 16 + shift) // count, (1 << 16 + shift) // count + 1):
            if factor < 1 << 16 and np.array_equal(values * factor >> 16 + shift, values // count):
                return factor, shift
    return None


def _function(name: str, window: Window, low: int, high: int) -> Function:
    """The function `void name(const int8_t *x, int16_t *sums, uint32_t tap, int8_t *out)`."""
    channels, blocks = window.x.channels, _padded(window) // _LANES
    title = f"Average pooling {window.kh}x{window.kw}: a row, {window.y.columns} pixels of {channels} channels out."
    code = Assembly(name, title, _REGISTERS)
    factor, shift = _division(window.kh * window.kw) or (0, 0)
    code.constant("factor", factor)
    code.constant("half", window.kh * window.kw // 2)
    # Sums of earlier rows count but for the first row.
    code.ops(["cmp {tap}, #0", "ite eq", "moveq {t}, #0", "mvnne {t}, #0", "vdup.32 {seen}, {t}"])
    clamps = [("low", low, -128, "vmax"), ("high", high, 127, "vmin")]
    clamps = [clamp for clamp in clamps if clamp[1] != clamp[2]]
    for vector, bound, _, _ in clamps:
        code.constant("t", bound)
        code.op(f"vdup.16 {{{vector}}}, {{t}}")
    code.constant("pixels", window.y.columns)
    with code.loop("next pixel") as label:
        code.constant("blocks", channels)
        with code.loop("next 8 channels") as again:
            code.ops(["vldrh.u16 {s}, [{sums}]", "vand {s}, {s}, {seen}"])
            _columns(code, window)
            code.ops(["vstrh.16 {s}, [{sums}], #16", f"cmp {{tap}}, #{window.kh - 1}", f"bne {again}_on"])
            _average(code, shift)
            for vector, _, _, operation in clamps:
                code.op(f"{operation}.s16 {{s}}, {{s}}, {{{vector}}}")
            code.ops(["vctp.16 {blocks}", "vpst", "vstrbt.16 {s}, [{out}]", f"add {{out}}, #{_LANES}"])
            code.label(f"{again}_on")
            code.ops([f"subs {{blocks}}, #{_LANES}", f"bgt {again}"])
        code.add("x", window.stride_w * channels - _LANES * blocks, "t")
        if channels % _LANES:
            code.ops([f"cmp {{tap}}, #{window.kh - 1}", "it eq", f"subeq {{out}}, #{_LANES * blocks - channels}"])
        code.ops(["subs {pixels}, #1", f"bne {label}"])
    prototype = f"void {name}(const int8_t *x, int16_t *sums, uint32_t tap, int8_t *out)"
    return code.function(prototype, saves_vectors=True)


def _columns(code: Assembly, window: Window) -> None:
    """Adds the columns of a window; the input pointer goes on to the next channels."""
    for column in reversed(range(window.kw)):
        at = column * window.x.channels
        if column == 0:
            code.op(f"vldrb.s16 {{v}}, [{{x}}], #{_LANES}")
        elif at <= _NEAREST:
            code.op(f"vldrb.s16 {{v}}, [{{x}}, #{at}]")
        else:
            code.constant("t", at)
            code.op("add {t}, {x}")
            code.op("vldrb.s16 {v}, [{t}]")
        code.op("vadd.i16 {s}, {s}, {v}")


def _average(code: Assembly, shift: int) -> None:
    """Sums to averages, halves away from zero: the magnitude is divided, the sign put back."""
    code.ops(["vshr.s16 {sign}, {s}, #15", "vabs.s16 {s}, {s}", "vadd.i16 {s}, {s}, {half}", "vdup.16 {v}, {factor}",
              "vmulh.u16 {s}, {s}, {v}"])  # fmt: skip
    if shift:
        code.op(f"vshr.u16 {{s}}, {{s}}, #{shift}")
    code.ops(["veor {s}, {s}, {sign}", "vsub.i16 {s}, {s}, {sign}"])


KERNELS = (AveragePool2DVectors(),)
