"""The geometry that convolutions and pooling share: windows that slide over padded rows."""

from __future__ import annotations

from dataclasses import dataclass

from midge.ir.types import TensorType
from midge.kernels.base import Layout, Reads
from midge.ops.base import Padding


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel of kh x kw taps over x, making y; strides and dilations in pixels."""

    x: TensorType
    y: TensorType
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding: Padding

    @property
    def rows(self) -> tuple[int, int, int]:
        """For `row_steps`: rows between two steps, rows before the first, rows spanned."""
        return self.stride_h, self.padding.top, (self.kh - 1) * self.dilation_h + 1

    @property
    def right(self) -> int:
        """Columns of padding that the last window reaches into."""
        reach = (self.y.columns - 1) * self.stride_w + (self.kw - 1) * self.dilation_w + 1
        return max(0, reach - self.padding.left - self.x.columns)

    @property
    def bottom(self) -> int:
        """Rows of padding that the last window reaches into."""
        reach = (self.y.rows - 1) * self.stride_h + (self.kh - 1) * self.dilation_h + 1
        return max(0, reach - self.padding.top - self.x.rows)

    def reads(self, *, over_bytes: int = 0) -> Reads:
        """The padded rows that the kernel reads."""
        padding = self.padding
        return Reads(Layout(self.x.dtype), padding.left, self.right, padding.top, self.bottom, over_bytes)

    def tap_row(self, tap: int) -> tuple[int, int]:
        """(scale, offset): tap row `tap` of step s reads row s * scale + offset."""
        return self.stride_h, tap * self.dilation_h - self.padding.top

    @property
    def key(self) -> str:
        """The shape class in a function's name."""
        dilation = f"d{self.dilation_h}x{self.dilation_w}" if (self.dilation_h, self.dilation_w) != (1, 1) else ""
        return f"k{self.kh}x{self.kw}s{self.stride_w}{dilation}c{self.x.channels}n{self.y.channels}w{self.y.columns}"
