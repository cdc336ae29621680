"""Assembly of depthwise convolutions with Helium, on rows in planes: a gathered vector holds whole windows.

The lanes of a vector are the columns of one channel, each column its taps from top to bottom:

    3 x 3, stride 1    x00 x10 x20 | x01 x11 x21 | … | x04 x14 x24 | -      five columns: three windows
    weights of window 0    w00 w10 w20 w01 w11 w21 w02 w12 w22 0 0 0 0 0 0 0
    of window 1            0 0 0 w00 w10 w20 w01 w11 w21 w02 w12 w22 0 0 0 0

so that one gathering load and three `VMLADAV` make three results. The shifted weights are the same bytes, loaded from
a little before. Windows with more than 16 taps take two vectors, one result at a time. Up to eight results of a channel
are then scaled together, and scattered to where the next layer wants them.

A gathering load's offsets are bytes: where a window's rows lie further apart, a channel's rows are first copied to the
stack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.requantize_mve import Requantization
from midge.kernels.view import Rows
from midge.kernels.window import Window

LANES = 16
OVER_BYTES = 15
_MOST_PARTS = 2
_MOST_WINDOWS = 3
_BLOCK = 8
_FARTHEST = 255
_LARGEST_ADDED = 4095
_SUMS = ("a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3")
_REGISTERS = {
    "a0": "r0", "a1": "r2", "a2": "r4", "a3": "r6", "b0": "r8", "b1": "r10", "b2": "r12", "b3": "lr",
    "xp": "r1", "wp": "r3", "end": "r5", "out": "r7", "m": "r9", "c": "r11",
    "w0": "q0", "w1": "q1", "w2": "q2", "x": "q3", "y": "q4", "places": "q6", "from0": "q7",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on, but for the layouts of its operands. Strides and dilations in pixels."""

    kh: int
    kw: int
    stride: int
    dilation: int
    columns: int
    channels: int

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """(first row, rows) of the taps in each vector."""
        most = LANES // self.kw
        return tuple((row, min(most, self.kh - row)) for row in range(0, self.kh, most)) if most else ()

    @property
    def windows(self) -> int:
        """Windows in one vector."""
        if len(self.parts) != 1 or self.dilation != 1:
            return 1
        return min(_MOST_WINDOWS, (LANES // self.kh - self.kw) // self.stride + 1)

    @property
    def width(self) -> int:
        """Columns that a row's windows reach over."""
        return (self.columns - 1) * self.stride + (self.kw - 1) * self.dilation + 1

    @property
    def staged_pitch(self) -> int:
        """Bytes from row to row on the stack."""
        return -(-self.width // LANES) * LANES

    def is_within_reach(self, distance: int) -> bool:
        """True where gathering loads reach over rows that lie up to so many bytes apart."""
        columns = (self.kw - 1) * self.dilation + (self.windows - 1) * self.stride
        return distance + columns <= _FARTHEST

    @property
    def before_bytes(self) -> int:
        """Zeros in front of the weights: what the last window's are shifted by, in whole words."""
        return -(-(self.windows - 1) * self.stride * self.kh // 4) * 4

    @property
    def key(self) -> str:
        return f"k{self.kh}x{self.kw}s{self.stride}d{self.dilation}w{self.columns}n{self.channels}"


def shape_of(window: Window) -> Shape:
    return Shape(window.kh, window.kw, window.stride_w, window.dilation_w, window.y.columns, window.y.channels)


def refuse(shape: Shape) -> str | None:
    """Why there is no code for a shape."""
    if not 1 <= len(shape.parts) <= _MOST_PARTS:
        return "its windows are too large"
    if not shape.is_within_reach((shape.kh - 1) * shape.staged_pitch):
        return "its rows are too long"
    return "its pixels lie too far apart" if (_BLOCK - 1) * shape.channels > 0xFFFF else None


@dataclass(frozen=True, slots=True)
class Places:
    """Where operands and results lie: bytes between neighbours. `is_staged`: rows are copied to the stack first."""

    x_plane: int
    y_pixel: int
    y_channel: int
    is_staged: bool


def places_of(shape: Shape, window: Window, x: Rows, y: Rows, *, is_in_planes: bool) -> Places:
    """Where a layer's rows lie in its plan; `is_in_planes`: those of the result."""
    rows_apart = (window.kh - 1) * window.dilation_h if x.height >= x.padded_rows else x.height - 1
    pixel, channel = (1, y.plane_bytes) if is_in_planes else (y.pixel_bytes, 1)
    return Places(x.plane_bytes, pixel, channel, not shape.is_within_reach(rows_apart * x.stride_bytes))


def _tap_lanes(shape: Shape) -> list[np.ndarray]:
    """For each part [lanes, 2]: row within the part, and column; of all windows of a vector."""
    columns = shape.kw + (shape.windows - 1) * shape.stride
    lanes = []
    for _, rows in shape.parts:
        column, row = np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij")
        lanes.append(np.stack([row.reshape(-1), column.reshape(-1)], axis=1)[:LANES])
    return lanes


def stream(weights: np.ndarray, shape: Shape, form: Requantization, places: Places) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [KH, KW, channels].

    First the results' places in a block and the columns of the gathered lanes, then for each channel zeros, the weights
    of each part (column by column, filled up with zeros) and the parameters.
    """
    lane = np.arange(_BLOCK)
    head = [((lane % 2 * 4 + lane // 2) * places.y_pixel).astype(np.uint16).view(np.uint8)]
    for taps in _tap_lanes(shape):
        offsets = np.zeros(LANES, np.uint8)
        offsets[: len(taps)] = taps[:, 1] * shape.dilation
        if places.is_staged:
            offsets[: len(taps)] += (taps[:, 0] * shape.staged_pitch).astype(np.uint8)
        head.append(offsets)
    if places.is_staged:
        for (first, _), offsets in zip(shape.parts, head[1:], strict=True):
            offsets += np.uint8(first * shape.staged_pitch)
    channels = weights.shape[2]
    pieces = [np.zeros((channels, shape.before_bytes), np.int8)]
    for first, rows in shape.parts:
        flat = weights[first : first + rows].transpose(2, 1, 0).reshape(channels, -1)
        pieces.append(np.pad(flat, ((0, 0), (0, LANES - flat.shape[1]))))
    body = np.concatenate([*pieces, np.ascontiguousarray(form.parameters.T).view(np.int8)], axis=1)
    return np.concatenate([*head, body.reshape(-1).view(np.uint8)]).view(np.int32)


def function(name: str, shape: Shape, form: Requantization, places: Places, title: str) -> Function:
    """The function `void name(const int8_t *const *rows, int8_t *out, const int32_t *stream)`."""
    return _Writer(name, shape, form, places, title).write()


class _Writer:
    """Frame where rows are staged: row pointers, the rows of one channel."""

    def __init__(self, name: str, shape: Shape, form: Requantization, places: Places, title: str) -> None:
        self.shape, self.form, self.places = shape, form, places
        self.rows_at = 4 * shape.kh
        frame = self.rows_at + shape.kh * shape.staged_pitch if places.is_staged else 0
        parts = len(shape.parts)
        # Of the vectors that windows leave free: the second part's lanes, and one for results.
        registers = {**_REGISTERS, "from1": "q5", "r": "q2" if parts > 1 else "q5"}
        self.code = Assembly(name, title, registers, -(-frame // 8) * 8)
        self.parameters_at = shape.before_bytes + LANES * parts
        self.channel_bytes = self.parameters_at + 4 * len(form.parameters)
        self.rest = shape.columns % _BLOCK

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.ops(["mov {m}, r0", "mov {out}, r1", "mov {wp}, r2", "vldrw.u32 {places}, [{wp}], #16"])
        for part in range(len(shape.parts)):
            code.op(f"vldrw.u32 {{from{part}}}, [{{wp}}], #16")
        if self.places.is_staged:
            for row in range(shape.kh):
                code.ops([f"ldr {{a0}}, [{{m}}, #{4 * row}]", f"str {{a0}}, [sp, #{4 * row}]"])
        else:
            self.find_lanes()
        code.constant("a0", self.channel_bytes * shape.channels)
        code.op("add {end}, {wp}, {a0}")
        if self.rest:
            lanes = [lane for lane in range(_BLOCK) if lane % 2 * 4 + lane // 2 < self.rest]
            code.constant("a0", sum(0b11 << 2 * lane for lane in lanes))
            code.op("vmsr p0, {a0}", "lanes of a row's last results")
        with code.loop("next channel") as label:
            self.channel()
            code.ops(["cmp {wp}, {end}", f"bne {label}"])
        return code.function(
            f"void {code.name}(const int8_t *const *rows, int8_t *out, const int32_t *stream)", saves_vectors=True
        )

    def find_lanes(self) -> None:
        """The lowest row, and how far from it each lane's row lies."""
        code = self.code
        code.op("ldr {xp}, [{m}]", "rows")
        for row in range(1, self.shape.kh):
            code.ops([f"ldr {{a0}}, [{{m}}, #{4 * row}]", "cmp {a0}, {xp}", "it lo", "movlo {xp}, {a0}"])
        for part, ((first, rows), taps) in enumerate(zip(self.shape.parts, _tap_lanes(self.shape), strict=True)):
            for row in range(rows):
                mask = sum(1 << lane for lane in range(len(taps)) if taps[lane, 0] == row)
                code.ops([f"ldr {{a0}}, [{{m}}, #{4 * (first + row)}]", "sub {a0}, {xp}"])
                code.constant("a1", mask)
                vector = f"{{from{part}}}"
                code.ops(["vmsr p0, {a1}", "vpst", f"vaddt.i8 {vector}, {vector}, {{a0}}"])

    def channel(self) -> None:
        """All results of a channel's row; pointers go on to the next channel."""
        code, shape, places = self.code, self.shape, self.places
        if places.is_staged:
            self.stage()
        if len(shape.parts) == 1:
            for window in range(shape.windows):
                code.op(f"vldrb.u8 {{w{window}}}, [{{wp}}, #{shape.before_bytes - window * shape.stride * shape.kh}]")
        else:
            for part in range(len(shape.parts)):
                code.op(f"vldrb.u8 {{w{part}}}, [{{wp}}, #{LANES * part}]")
        if len(self.form.parameters) == 2:
            code.op(f"ldrd {{m}}, {{c}}, [{{wp}}, #{self.parameters_at}]")
        moved = passed = 0
        for first in range(0, shape.columns, _BLOCK):
            count = min(_BLOCK, shape.columns - first)
            moved = self.sums(first, count, moved)
            self.finish(count)
            if first + count < shape.columns:
                code.add("out", _BLOCK * places.y_pixel, "a0")
                passed += _BLOCK * places.y_pixel
        if not places.is_staged:
            code.add("xp", places.x_plane - moved, "a0")
        code.add("out", places.y_channel - passed, "a0")
        code.op(f"add {{wp}}, #{self.channel_bytes}")

    def stage(self) -> None:
        """The rows of a channel to the stack."""
        code, shape = self.code, self.shape
        code.op(f"add {{xp}}, sp, #{self.rows_at}")
        pieces = shape.staged_pitch // LANES
        for row in range(shape.kh):
            code.op(f"ldr {{a0}}, [sp, #{4 * row}]")
            for _ in range(pieces):
                code.ops(["vldrb.u8 {x}, [{a0}], #16", "vstrb.8 {x}, [{xp}], #16"])
            code.add("a0", self.places.x_plane - LANES * pieces, "a1")
            code.op(f"str {{a0}}, [sp, #{4 * row}]")
        code.op(f"add {{xp}}, sp, #{self.rows_at}")

    def sums(self, first: int, count: int, moved: int) -> int:
        """The sums of up to eight windows; returns how far the input pointer was moved along the row."""
        code, shape = self.code, self.shape
        for at in range(first, first + count, shape.windows):
            code.add("xp", at * shape.stride - moved, "a0")
            moved = at * shape.stride
            vector = "xy"[(at - first) // shape.windows % 2]
            for part in range(len(shape.parts)):
                code.op(f"vldrb.u8 {{{vector}}}, [{{xp}}, {{from{part}}}]")
                add = "a" if part else ""
                for window in range(min(shape.windows, first + count - at)):
                    weights = f"w{part + window}"
                    code.op(f"vmladav{add}.s8 {{{_SUMS[at - first + window]}}}, {{{vector}}}, {{{weights}}}")
        return moved

    def finish(self, count: int) -> None:
        """Scale the sums and store the results: the first four in even lanes, the others in odd ones."""
        code, form = self.code, self.form
        vectors = ["x", "y"] if count > 4 else ["x"]
        for vector, own in zip(vectors, (_SUMS[: min(4, count)], _SUMS[4:count]), strict=False):
            names = [*own, *own[:1] * (4 - len(own))]  # lanes that nobody reads
            code.op(f"vmov {{{vector}}}[2], {{{vector}}}[0], {{{names[0]}}}, {{{names[2]}}}")
            if len(own) % 4 != 1:
                code.op(f"vmov {{{vector}}}[3], {{{vector}}}[1], {{{names[1]}}}, {{{names[3]}}}")
        if len(form.parameters) == 2:
            registers = ["m", "c"]
        else:
            registers = list(_SUMS[: len(form.parameters)])
            code.ops([f"ldr {{{name}}}, [{{wp}}, #{self.parameters_at + 4 * i}]" for i, name in enumerate(registers)])
        names = iter(registers)
        form.scale(code, vectors, lambda: next(names), "r", are_vectors=False)
        form.narrow(code, vectors, "r", "x", "a0")
        if count < _BLOCK:
            code.op("vpst")
        code.op(f"vstrb{'t' if count < _BLOCK else ''}.16 {{r}}, [{{out}}, {{places}}]")
