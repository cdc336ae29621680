"""Images in another size, between their pixels (docs/numerics.md, "Bilinear resizing")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only

FRACTION_BITS = 10
"""Of positions between int8 pixels."""
_ONE = 1 << FRACTION_BITS
_MOST = 1 << 12
"""Pixels along an axis, of both sides; so that positions fit 32 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Between:
    """One axis: result p lies between pixels `low[p]` and `high[p]`, `weight[p]` of the way (of 1024 for int8)."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, slots=True)
class ResizeBilinear(Op):
    """Operand x [1,H,W,C], float32, or int8 or uint8 with the result's quantisation; result of `height` x `width`.

    `align_corners`: the outer pixels' centres lie on each other; `half_pixel_centers`: the outer edges do; neither:
    the first pixels lie on each other, and the scale is that of the sizes.
    """

    name: ClassVar[str] = "resize_bilinear"
    height: int
    width: int
    align_corners: bool
    half_pixel_centers: bool

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(len(x.shape) == 4 and x.shape[0] == 1, f"an input of shape {list(x.shape)}",
                    "[1, height, width, channels]")  # fmt: skip
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or scale",
                    "the input's")  # fmt: skip
        self.expect(x.dtype is DType.FLOAT32 or is_quantized(x, DType.INT8, DType.UINT8),
                    f"elements of type {x.dtype.value}", "float32, or int8 or uint8 with one scale")  # fmt: skip
        self.expect(not (self.align_corners and self.half_pixel_centers), "two ways to align", "one at most")
        sizes = (self.height, self.width, *x.shape[1:3])
        self.expect(min(sizes) >= 1 and max(sizes) <= _MOST, f"{list(sizes)} pixels", f"1 to {_MOST}")
        expected = (1, self.height, self.width, x.shape[3])
        self.expect(output.shape == expected, f"an output of shape {list(output.shape)}", f"{list(expected)}")

    def rows(self, x: TensorType) -> Between:
        return self._between(x, x.shape[1], self.height)

    def columns(self, x: TensorType) -> Between:
        return self._between(x, x.shape[2], self.width)

    def _between(self, x: TensorType, size: int, results: int) -> Between:
        return (self._of_integers if x.dtype is DType.INT8 else self._of_floats)(size, results)

    def _of_floats(self, size: int, results: int) -> Between:
        spread = self.align_corners and results > 1
        scale = np.float32(size - 1) / np.float32(results - 1) if spread else np.float32(size) / np.float32(results)
        place = np.arange(results, dtype=np.float32)
        half = np.float32(0.5)
        at = (place + half) * scale - half if self.half_pixel_centers else place * scale
        low = np.maximum(np.floor(at), 0).astype(np.int32)
        high = np.minimum(np.ceil(at), size - 1).astype(np.int32)
        # Past an edge both are one pixel, and the weights, of which one is negative then, still add up to 1.
        return Between(np.minimum(low, high), high, (at - low.astype(np.float32)).astype(np.float32))

    def _of_integers(self, size: int, results: int) -> Between:
        scale = (_ONE * size + results // 2) // results
        if self.align_corners and results > 1:
            scale = (_ONE * (size - 1) + (results - 1) // 2) // (results - 1)
        at = np.arange(results, dtype=np.int64) * scale
        if self.half_pixel_centers:
            at = at + scale // 2 - _ONE // 2
        low = np.maximum(at, 0) // _ONE  # C's division, of numbers that are not negative then
        high = np.minimum(np.where(at > -_ONE, at + _ONE - 1, 0) // _ONE, size - 1)
        # A scale rounded up may lead past the last pixel.
        low = np.minimum(low, size - 1)
        return Between(low.astype(np.int32), high.astype(np.int32), np.where(low == high, 0, at - _ONE * low))

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        rows, columns = self.rows(inputs[0]), self.columns(inputs[0])
        is_float = inputs[0].dtype is not DType.INT8
        one, kind = (np.float32(1), np.float32) if is_float else (_ONE, np.int64)
        down = rows.weight.astype(kind)[:, None, None]
        right = columns.weight.astype(kind)[None, :, None]
        image = x[0].astype(kind)
        low, high = image[rows.low], image[rows.high]
        total = low[:, columns.low] * (one - down) * (one - right) + high[:, columns.low] * down * (one - right)
        total = total + low[:, columns.high] * (one - down) * right + high[:, columns.high] * down * right
        if inputs[0].dtype is DType.UINT8:
            return (np.floor(total + np.float32(0.5)).astype(np.uint8)[None],)
        if is_float:
            return (total.astype(np.float32)[None],)
        half = 1 << (2 * FRACTION_BITS - 1)
        rounded = np.where(total > 0, total + half, total - half)
        return ((np.sign(rounded) * (np.abs(rounded) >> (2 * FRACTION_BITS))).astype(np.int8)[None],)


def _case(label: str, before: tuple[int, int], after: tuple[int, int], channels: int = 3, *,
          align_corners: bool = False, half_pixel_centers: bool = False, dtype: DType = DType.INT8
          ) -> Case:  # fmt: skip
    op = ResizeBilinear(*after, align_corners, half_pixel_centers)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        shapes = ((1, *before, channels), (1, *after, channels))
        if dtype is DType.FLOAT32:
            return [("x", floats(shapes[0]), None)], floats(shapes[1])
        scale, zero_point = scale_of(rng, 0.05), 121 if dtype is DType.UINT8 else -7
        return [("x", quantized(shapes[0], scale, zero_point, dtype), None)], quantized(
            shapes[1], scale, zero_point, dtype
        )

    return case(label, op, make)


_SIZES = (
    ("twice", (3, 4), (6, 8)), ("uneven", (3, 5), (7, 8)), ("smaller", (7, 8), (3, 5)), ("same", (3, 4), (3, 4)),
    ("one_pixel", (1, 1), (3, 4)), ("to_one_pixel", (4, 5), (1, 1)), ("one_axis", (4, 1), (9, 1)),
)  # fmt: skip
CASES: tuple[Case, ...] = (
    *(_case(label, before, after) for label, before, after in _SIZES),
    *(_case(f"{label}_aligned", before, after, align_corners=True) for label, before, after in _SIZES),
    *(_case(f"{label}_half", before, after, half_pixel_centers=True) for label, before, after in _SIZES),
    *(_case(f"c{channels}", (3, 4), (5, 6), channels, half_pixel_centers=True) for channels in (1, 4, 8, 9)),
    *(
        _case(f"u8_{label}", before, after, half_pixel_centers=True, dtype=DType.UINT8)
        for label, before, after in _SIZES
    ),
    _case("u8_aligned", (3, 5), (7, 8), align_corners=True, dtype=DType.UINT8),
    _case("u8_plain", (3, 5), (7, 8), dtype=DType.UINT8),
    *(_case(f"float_{label}", before, after, dtype=DType.FLOAT32) for label, before, after in _SIZES),
    _case("float_aligned", (3, 5), (7, 8), align_corners=True, dtype=DType.FLOAT32),
    _case("float_half", (3, 5), (7, 8), half_pixel_centers=True, dtype=DType.FLOAT32),
    _case("float_half_smaller", (9, 8), (4, 5), half_pixel_centers=True, dtype=DType.FLOAT32),
)
