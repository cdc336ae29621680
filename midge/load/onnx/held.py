"""What an ONNX tensor is while a file is imported: a constant, or elements of a value of the graph in some order.

Transposes, reshapes and slices make no nodes. They rearrange `Held.order`, an array of the ONNX tensor's shape that
says for each element where it lies in the graph's value; a node is made only where an operator needs another order
than the elements have. To hold a convolution's result [1, H, W, C] as an ONNX tensor [1, C, H, W] costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from midge.ir.types import TensorType

MOST_ELEMENTS = 1 << 24
"""Of one tensor: more than any microcontroller holds, and few enough to compute with."""
Order = tuple[int, ...]
"""A permutation of axes: axis k of the arrangement is axis `order[k]` of the ONNX tensor."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A constant. `scales` and `zero_points` where `array` is the dequantised form of the integers `quantized`."""

    array: np.ndarray
    quantized: np.ndarray | None = None
    scales: np.ndarray | None = None
    zero_points: np.ndarray | None = None
    axis: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def moved(self, array: np.ndarray, quantized: np.ndarray | None = None) -> Known:
        """The same in another arrangement; with scales along an axis only where the caller gives the integers too."""
        if quantized is None or self.scales is None or self.scales.size > 1:
            return Known(array)
        return replace(self, array=array, quantized=quantized)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A tensor that depends on the inputs.

    `value` is the graph's value, of type `type`; `order` has the ONNX tensor's shape, and holds positions in the value.
    `is_real`: the ONNX tensor is float32, the value its quantised form. `is_whole`: the ONNX tensor has a wide integer
    type; the value is float32 and holds whole numbers.
    """

    value: str
    type: TensorType
    order: np.ndarray
    is_real: bool = False
    is_whole: bool = False
    is_unsigned: bool = False
    """The ONNX tensor is uint8, the value int8 with everything 128 less."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.order.shape

    @property
    def zero_point(self) -> int:
        """The ONNX tensor's zero point, where it has one."""
        return self.type.zero_point + (128 if self.is_unsigned else 0)

    def rearranged(self, order: np.ndarray) -> Held:
        return replace(self, order=order)

    def lies_as(self, axes: Order) -> bool:
        """True where the value holds exactly this tensor's elements, in the arrangement of these axes."""
        return self.order.size == self.type.elements and _is_count(self.order.transpose(axes))

    @property
    def axes(self) -> Order | None:
        """The arrangement that the elements lie in; None where it is no permutation of axes, or leaves elements out.

        Axes of one element say nothing; the value's own shape decides about those.
        """
        if self.order.size != self.type.elements:
            return None
        rank = len(self.shape)
        for axes in (tuple(range(rank)), channels_last(rank)):
            if tuple(self.shape[axis] for axis in axes) == self.type.shape and self.lies_as(axes):
                return axes
        steps = [_step(self.order, axis) for axis in range(rank)]
        long = sorted((axis for axis in range(rank) if self.shape[axis] > 1), key=lambda axis: -steps[axis])
        # Axes of one element stay in front of the axis that follows them.
        axes = tuple(axis for axis in range(rank) if self.shape[axis] == 1) + tuple(long)
        return axes if self.lies_as(axes) else None


def channels_last(rank: int) -> Order:
    """[N, C, …] as [N, …, C]."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def arrangement(shape: tuple[int, ...], axes: Order) -> np.ndarray:
    """The order of an ONNX tensor of this shape whose elements lie in the arrangement of these axes."""
    lying = np.arange(int(np.prod(shape)), dtype=np.int64).reshape([shape[axis] for axis in axes])
    return lying.transpose(np.argsort(axes))


def _is_count(order: np.ndarray) -> bool:
    return np.array_equal(order.reshape(-1), np.arange(order.size))


def _step(order: np.ndarray, axis: int) -> int:
    """From an element to its neighbour along an axis."""
    if order.shape[axis] < 2:
        return 0
    return int(np.moveaxis(order, axis, 0).reshape(order.shape[axis], -1)[:2, 0] @ np.array([-1, 1]))
