"""Convolution for cores with the DSP extension whose weights are widened two channels at a time.

Weights that are widened already take less time in the loop, and twice their bytes: too many for most flashes, and for
RAM where all of a layer's are to lie there at once (`Weights.HELD`). Here a step widens those of two channels, makes
these two channels of its row, and goes on with the next two in the same memory. A weight is widened once for each row,
which costs about three cycles: little beside the pixels of a row that it is multiplied with.
"""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, Node
from midge.kernels import render, requantize_armv7em
from midge.kernels.assembly import Assembly
from midge.kernels.base import NEAR_PITCH, Binding, Function, Kernel, LayerCode, Layout, Offer, row_steps
from midge.kernels.conv2d import wide, wide_code, wide_held
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.conv2d.widened import GROUP, row_bytes, widen_function, widened_zero
from midge.kernels.layouts import NATURAL, PLANES, WIDE, WIDE_PLANES
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core

_PAIR = 2
_REGISTERS = {
    "to": "r0", "weights": "r1", "numbers": "r2", "groups": "r3", "a": "r4", "b": "r5", "c": "r6", "d": "r7",
    "e": "r8", "f": "r9", "g": "r10", "h": "r11",
}  # fmt: skip


class Conv2DS8Paired(Kernel):
    """On widened rows, or on bytes that each step widens (`widens`).

    Scratch memory: the stream of two channels (`wide`), then the rows of a step, where they are widened here.
    """

    op = Conv2D
    most_pitch_bytes = NEAR_PITCH

    def __init__(self, variant: str, layout: Layout, *, widens: bool) -> None:
        self.name = f"conv2d_s8_paired{'_bytes' if widens else ''}{variant}__armv7em"
        self.code_name = f"conv2d_s8_pair{variant}__armv7em"
        self.layout = layout
        self.widens = widens

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if window.y.channels % _PAIR:
            return "an odd number of channels"
        if wide.reaches_far(_shape(window, core), (2 * window.y.channels,)):
            return "its pixels lie too far apart"
        return None if self._requantized(node, graph) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window, form = conv2d_window(node, graph), self._requantized(node, graph)
        assert form is not None
        over_bytes = wide.over_bytes(window, wide.steps_of(window, 16))
        scratch_bytes = _stream_bytes(window, form)
        if self.widens:
            scratch_bytes += window.kh * row_bytes(window) + over_bytes
            reads = replace(window.reads(over_bytes=GROUP - 1), layout=NATURAL)
        else:
            reads = replace(window.reads(over_bytes=over_bytes), layout=WIDE)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps, scratch_bytes,
                       keeps_scratch=False)  # fmt: skip

    def emit(self, view: TaskView) -> LayerCode:
        window, form = conv2d_window(view.node, view.graph), self._requantized(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None and form is not None
        shape = _shape(window, view.core)
        shape = replace(shape, loop_bytes=min(shape.loop_bytes, view.most_loop_bytes))
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else view.y.pitch_key
        starts = "" if form.has_starts else "z"
        name = f"{view.prefix}_{self.code_name}_{window.key}{form.key}{starts}{plane}"
        title = f"Two channels of a convolution {window.kh}x{window.kw}: {window.x.channels} channels in."
        kernel = wide_code.function(name, shape, form, view.y, title)
        widen = _widen_function(view.prefix, form)
        functions = [widen, kernel]
        rows = None
        if self.widens:
            rows = widen_function(f"{view.prefix}_widen_s8__armv7em")
            functions.append(rows)
        constants = wide_held.constants(weights, shape, form)
        pairs = window.y.channels // _PAIR
        body = render.render(
            "conv2d/paired_layer.c.j2", view=view, window=window, widen=widen.name, call=name, pairs=pairs,
            widen_row=rows and rows.name, stream_bytes=_stream_bytes(window, form),
            row_values=row_bytes(window) // 2, groups=row_bytes(window) // (2 * GROUP),
            zero=widened_zero(view.x.type.zero_point), weight_groups=_weight_words(window),
            out_bytes=_PAIR * (view.y.plane_bytes if self.layout.planes else self.layout.dtype.bytes),
            weight_bytes=constants[0].data.size // pairs, number_count=constants[1].data.size // pairs,
        )  # fmt: skip
        return LayerCode(tuple(functions), constants, body)

    def _requantized(self, node: Node, graph: Graph) -> Requantization | None:
        return requantize_armv7em.requantized(
            node, graph, self.layout, channel_axis=0, is_centred=True, fraction_bits=WIDE.fraction_bits or 0
        )


def _shape(window: Window, core: Core) -> wide.Shape:
    """The shape of the code for two channels."""
    return replace(wide.shape_of(window, core, 16, pairs_outside=False), channels=_PAIR)


def _stream_bytes(window: Window, form: Requantization) -> int:
    """Of two channels: start values, weights in 16 bits, parameters."""
    return 4 * _PAIR * (int(form.has_starts) + _weight_words(window) + form.parameters.shape[1])


def _weight_words(window: Window) -> int:
    """Of one channel, two weights a word; so many groups of four bytes has a pair of channels in flash."""
    return window.kh * sum(step.words * count for step, count in wide.steps_of(window, 16))


def _widen_function(prefix: str, form: Requantization) -> Function:
    """`void name(int32_t *stream, const int8_t *weights, const int32_t *numbers, uint32_t groups)`.

    Writes the stream of two channels: start values, `groups` times four bytes widened (1 and 2 exchanged in flash, so
    that even and odd ones are neighbours), parameters.
    """
    starts, parameters = _PAIR * int(form.has_starts), _PAIR * form.parameters.shape[1]
    name = f"{prefix}_widen_pair_{starts}p{parameters}__armv7em"
    code = Assembly(name, "Widen the weights of two channels.", _REGISTERS)
    for _ in range(starts // _PAIR):
        code.ops(["ldmia {numbers}!, {{{a}, {b}}}", "stmia {to}!, {{{a}, {b}}}"])
    single, done = code.new_label(), code.new_label()
    code.ops(["subs {groups}, #4", f"blo {single}"])
    with code.loop("next sixteen weights") as label:
        code.op("ldmia {weights}!, {{{a}, {b}, {c}, {d}}}")
        for first, second in (("a", "b"), ("c", "d")):
            code.ops([f"sxtb16 {{e}}, {{{first}}}", f"sxtb16 {{f}}, {{{first}}}, ror #8"])
            code.ops([f"sxtb16 {{g}}, {{{second}}}", f"sxtb16 {{h}}, {{{second}}}, ror #8"])
            code.op("stmia {to}!, {{{e}, {f}, {g}, {h}}}")
        code.ops(["subs {groups}, #4", f"bhs {label}"])
    code.place(single, "four weights at a time")
    code.ops(["adds {groups}, #4", f"beq {done}"])
    with code.loop("next four weights") as label:
        code.ops(["ldr {a}, [{weights}], #4", "sxtb16 {e}, {a}", "sxtb16 {f}, {a}, ror #8"])
        code.ops(["stmia {to}!, {{{e}, {f}}}", "subs {groups}, #1", f"bne {label}"])
    code.place(done, "parameters")
    for _ in range(parameters // _PAIR):
        code.ops(["ldmia {numbers}!, {{{a}, {b}}}", "stmia {to}!, {{{a}, {b}}}"])
    arguments = "int32_t *stream, const int8_t *weights, const int32_t *numbers, uint32_t groups"
    return code.function(f"void {name}({arguments})")


_PLAIN_CYCLES, _OWN_CYCLES, _WIDENING_CYCLES = 1.56, 1.25, 1.9
"""For a product: of the plain form, of this one, and of a weight that the pixels of a row share."""
_LEAST_TAPS = 100
"""Products of a result: with fewer, what begins and ends a pair of channels takes longer than is saved."""


def paired_offers(node: Node, graph: Graph, core: Core, plain: Kernel, *, widens: bool) -> tuple[Offer, ...]:
    """The kernel in place of a plain one with weights of 8 bits, on cores that read them from a flash with wait states.

    By measurements on the NUCLEO-L4R5ZI of 3x3 convolutions of 16 to 64 channels, rows of 8 to 32 pixels.
    """
    window, binding = conv2d_window(node, graph), plain.bind(node, graph)
    kernel = next(one for one in PAIRED_KERNELS if (one.layout, one.widens) == (binding.writes[0], widens))
    taps = window.kh * window.kw * window.x.channels
    cycles = _PLAIN_CYCLES - _OWN_CYCLES - _WIDENING_CYCLES / window.y.columns
    if not core.timing.get("flash_miss") or taps < _LEAST_TAPS or kernel.refuse(node, graph, core) is not None:
        return ()
    extra_ram_bytes = kernel.bind(node, graph).scratch_bytes - binding.scratch_bytes
    saved_cycles = cycles * graph.macs(node)
    return (Offer(kernel, 0, saved_cycles, extra_ram_bytes),) if saved_cycles > 0 else ()


_LAYOUTS = {"": NATURAL, "_to_wide": WIDE, "_to_planes": PLANES, "_to_wide_planes": WIDE_PLANES}
PAIRED_KERNELS = tuple(
    Conv2DS8Paired(variant, layout, widens=widens) for widens in (False, True) for variant, layout in _LAYOUTS.items()
)
