"""The sums of products of `dots_mve` where a window is one vector: 16 bytes or less, as in 1 x 1 convolutions of up to
16 channels. Then the weights of 4 channels stay in registers for a whole row of pixels.

It reads the stream of `dots_mve`, and makes the same blocks of 2 pixels by 4 channels.
"""

from __future__ import annotations

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.dots_mve import GROUP, VECTOR, Shape
from midge.kernels.requantize_mve import Requantization

_FEWEST_COLUMNS = 4
_NEAREST = 127
_REGISTERS = {
    "a0": "r0", "a1": "r2", "a2": "r4", "a3": "r6", "b0": "r8", "b1": "r10", "b2": "r12", "b3": "lr",
    "xp": "r1", "out": "r3", "wp": "r5", "group": "r7", "end": "r9", "turn": "r11",
    "x": "q0", "y": "q1", "w0": "q2", "w1": "q3", "w2": "q4", "w3": "q5", "p": "q6", "two": "q7",
}  # fmt: skip
_X_AT = 0
_FRAME_BYTES = 8


def suits(shape: Shape) -> bool:
    """True where this form is the faster one."""
    is_one = shape.steps == 1 and not shape.is_gathered and shape.rows * len(shape.runs) == 1
    return is_one and shape.columns >= _FEWEST_COLUMNS and shape.pixel_bytes <= _NEAREST


def function(name: str, shape: Shape, form: Requantization, y_pixel: int, y_channel: int, title: str) -> Function:
    """The function `void name(const int8_t *const *rows, int8_t *out, const int32_t *stream)`."""
    return _Writer(name, shape, form, (y_pixel, y_channel), title).write()


class _Writer:
    """Frame: the first pixel's window."""

    def __init__(self, name: str, shape: Shape, form: Requantization, y: tuple[int, int], title: str) -> None:
        self.shape, self.form = shape, form
        self.y_pixel, self.y_channel = y
        self.code = Assembly(name, title, _REGISTERS, _FRAME_BYTES)
        self.parameter_bytes = 4 * GROUP * len(form.parameters)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.ops(["mov {group}, r1", "ldr {xp}, [r0]", f"str {{xp}}, [sp, #{_X_AT}]", "mov {wp}, r2",
                  "vldrw.u32 {two}, [{wp}]", f"add {{wp}}, #{2 * VECTOR}"])  # fmt: skip
        whole, rest = divmod(shape.channels, GROUP)
        if whole > 1:
            code.constant("end", whole * (GROUP * VECTOR + self.parameter_bytes))
            code.op("add {end}, {wp}")
        if whole:
            with code.loop("next 4 channels") as label:
                self.channels(GROUP)
                code.add("group", GROUP * self.y_channel, "a0")
                if whole > 1:
                    code.ops(["cmp {wp}, {end}", f"bne {label}"])
        if rest:
            self.channels(rest)
        return code.function(
            f"void {code.name}(const int8_t *const *rows, int8_t *out, const int32_t *stream)", saves_vectors=True
        )

    def channels(self, channels: int) -> None:
        """Some channels of all pixels."""
        code, shape = self.code, self.shape
        code.ops([f"vldrw.u32 {{w{channel}}}, [{{wp}}], #16" for channel in range(GROUP)])
        code.ops([f"ldr {{xp}}, [sp, #{_X_AT}]", "mov {out}, {group}"])
        pairs, single = divmod(shape.columns, 2)
        code.constant("turn", pairs)
        with code.loop("next 2 pixels") as label:
            code.op(f"vldrb.u8 {{y}}, [{{xp}}, #{shape.pixel_bytes}]")
            self.input(2)
            self.block(2, channels)
            code.add("out", 2 * self.y_pixel, "a0")
            code.ops(["subs {turn}, #1", f"bne {label}"])
        if single:
            self.input(1)
            self.block(1, channels)
        code.add("wp", self.parameter_bytes, "a0")

    def input(self, pixels: int) -> None:
        """The first pixel's window; the pointer goes on to the next block."""
        step = pixels * self.shape.pixel_bytes
        self.code.op(f"vldrb.u8 {{x}}, [{{xp}}]{f', #{step}' if step <= _NEAREST else ''}")
        if step > _NEAREST:
            self.code.add("xp", step, "a0")

    def block(self, pixels: int, channels: int) -> None:
        """The sums of a block, scaled and stored."""
        code = self.code
        vectors = ["x", "y"][:pixels]
        for channel in range(channels):
            for vector, name in zip(vectors, "ab", strict=False):
                code.op(f"vmladav.s8 {{{name}{channel}}}, {{{vector}}}, {{w{channel}}}")
        for vector, name in zip(vectors, "ab", strict=False):
            code.op(f"vmov {{{vector}}}[2], {{{vector}}}[0], {{{name}0}}, {{{name}2}}")
            code.op(f"vmov {{{vector}}}[3], {{{vector}}}[1], {{{name}1}}, {{{name}3}}")
        at = 0

        def parameter() -> str:
            nonlocal at
            code.op(f"vldrw.u32 {{p}}, [{{wp}}, #{at}]")
            at += VECTOR
            return "p"

        self.form.scale(code, vectors, parameter, "p", are_vectors=True)
        self.form.narrow(code, vectors, "p", "x", "a0")
        if pixels == 2 and channels == GROUP:
            code.op("vstrb.16 {p}, [{out}, {two}]")
            return
        lanes = [lane for lane in range(8) if lane // 2 < channels and lane % 2 < pixels]
        code.constant("a0", sum(0b11 << 2 * lane for lane in lanes))
        code.ops(["vmsr p0, {a0}", "vpst", "vstrbt.16 {p}, [{out}, {two}]"])
