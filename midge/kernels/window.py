"""The geometry that convolutions and pooling share: windows that slide over padded rows."""

from __future__ import annotations

from dataclasses import dataclass

from midge.ir.types import TensorType
from midge.kernels import render
from midge.kernels.base import Function, Layout, Reads
from midge.kernels.view import TaskView, linear
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

    def layer(self, template: str, view: TaskView, **names: object) -> tuple[tuple[Function, ...], str]:
        """The body of a layer that reads several rows, from a template, and the functions that it needs.

        Where RAM or flash come first one function tells where the rows lie, else each layer's own code.
        """
        is_ring = self.kh > 1 and self.dilation_h == 1 and view.x.height > 1 and not view.x.is_pushed
        helpers = (render.helper("rows"),) if view.peers and is_ring else ()
        first_row = linear(self.stride_h, view.x.top - self.padding.top)
        gathers = helpers[0].name if helpers else ""
        return helpers, render.render(template, view=view, window=self, gathers=gathers, first_row=first_row, **names)
