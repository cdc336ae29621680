"""Layers that the shipped tables are fitted to: sizes as networks for microcontrollers have them, one of each kind.

None is there for the sake of one network: they spread over kernel sizes, strides, channel counts round the blocks of
kernels, and row lengths, so that each coefficient of a kernel's cost is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.copy import Copy
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.softmax import Softmax

# rows, columns, channels in, channels out, kernel height and width, stride
CONVOLUTIONS = (
    (25, 5, 64, 64, 1, 1, 1), (12, 12, 32, 64, 1, 1, 1), (6, 6, 128, 128, 1, 1, 1), (24, 24, 8, 16, 1, 1, 1),
    (1, 1, 64, 32, 1, 1, 1), (3, 3, 96, 96, 1, 1, 1), (10, 7, 24, 40, 1, 1, 1), (16, 16, 16, 16, 1, 1, 1),
    (5, 5, 48, 13, 1, 1, 1), (16, 16, 16, 32, 1, 1, 2), (48, 4, 6, 10, 1, 1, 1), (4, 30, 20, 20, 1, 1, 1),
    (16, 16, 16, 16, 3, 3, 1), (8, 8, 32, 32, 3, 3, 1), (4, 4, 64, 64, 3, 3, 1), (12, 10, 8, 12, 3, 3, 1),
    (20, 20, 4, 8, 3, 3, 1), (7, 7, 24, 24, 3, 3, 1), (16, 16, 16, 32, 3, 3, 2), (9, 9, 24, 24, 3, 3, 2),
    (8, 8, 32, 64, 3, 3, 2), (32, 32, 3, 16, 3, 3, 1), (48, 48, 3, 8, 3, 3, 2), (49, 10, 1, 64, 10, 4, 2),
    (28, 28, 1, 8, 5, 5, 1), (12, 12, 8, 16, 5, 5, 1), (40, 1, 16, 16, 3, 1, 1), (40, 1, 40, 32, 5, 1, 1),
    (24, 1, 128, 128, 1, 1, 1), (30, 1, 40, 64, 1, 1, 1), (8, 1, 16, 24, 1, 1, 1),
)  # fmt: skip
# rows, columns, channels, kernel height and width, stride
DEPTHWISE = (
    (25, 5, 64, 3, 3, 1), (24, 24, 8, 3, 3, 1), (12, 12, 32, 3, 3, 1), (6, 6, 64, 3, 3, 1), (3, 3, 128, 3, 3, 1),
    (10, 7, 13, 3, 3, 1), (24, 24, 16, 3, 3, 2), (12, 12, 32, 3, 3, 2), (7, 7, 48, 3, 3, 2), (12, 12, 16, 5, 5, 1),
    (12, 12, 16, 5, 5, 2), (40, 1, 32, 9, 1, 1), (10, 10, 24, 7, 7, 1), (6, 30, 12, 3, 3, 1),
)  # fmt: skip
FULLY_CONNECTED = ((640, 128), (128, 128), (128, 8), (64, 12), (256, 2), (1024, 10), (30, 30), (16, 100), (400, 50))
LONG_CONVOLUTIONS = ((3, 5, 256, 16, 3, 3, 1), (4, 4, 288, 12, 3, 3, 2))
LONG_CONNECTED = ((4000, 4), (3072, 16), (2304, 10))
"""Whose sums of int16 need 64 bits."""
ELEMENTWISE = ((16, 16, 16), (8, 8, 64), (25, 5, 64), (5, 3, 7), (1, 1, 128))
POOLS = ((24, 24, 8, 2), (12, 12, 32, 2), (10, 10, 12, 3), (25, 5, 64, 0), (6, 6, 128, 0), (8, 8, 64, 0))
"""Rows, columns, channels, window and stride; 0: the whole image."""
COPIES = ((49, 10, 1), (32, 32, 3), (25, 5, 64), (8, 8, 64), (48, 4, 6), (1, 1, 640), (12, 12, 16), (3, 3, 128))
EVERY_S16 = 2
"""Of these layers every second one is there with int16 activations too: fewer kernels have to be told apart."""


def layers() -> Iterator[Graph]:
    """One graph for each layer, always the same ones."""
    for dtype, every in ((DType.INT8, 1), (DType.INT16, EVERY_S16)):
        make = _Maker(dtype)
        is_wide = dtype is DType.INT16
        convolutions = (*CONVOLUTIONS[::every], *(LONG_CONVOLUTIONS if is_wide else ()))
        for rows, columns, channels, outputs, kh, kw, stride in convolutions:
            yield make.convolution((rows, columns, channels), outputs, kh, kw, stride)
        for rows, columns, channels, kh, kw, stride in DEPTHWISE[::every]:
            yield make.depthwise((rows, columns, channels), kh, kw, stride)
        for inputs, outputs in (*FULLY_CONNECTED[::every], *(LONG_CONNECTED if is_wide else ())):
            yield make.fully_connected(inputs, outputs)
        for shape in ELEMENTWISE[::every]:
            yield make.plain("add", Add(Activation.NONE), (shape, shape), shape)
        for shape in COPIES[::every]:
            yield make.plain("copy", Copy(), (shape,), shape, scale=0.05)
    make = _Maker(DType.INT8)
    for rows, columns, channels, size in POOLS:
        kh, kw = (size, size) if size else (rows, columns)
        y = ((rows - kh) // kh + 1, (columns - kw) // kw + 1, channels)
        for kind in (AveragePool2D, MaxPool2D):
            op = kind(kh, kw, kh, kw, Padding(0, 0, 0, 0), Activation.NONE)
            yield make.plain(op.name, op, ((rows, columns, channels),), y, scale=0.05)
    for count in (2, 12, 100):
        yield make.softmax(count)


@dataclass(slots=True)
class _Layer:
    """A one-layer graph in the making, with activations of `dtype`; values are drawn from its name."""

    builder: GraphBuilder
    rng: np.random.Generator
    dtype: DType

    def tensor(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> str:
        """A value of int8, or one of int16 of the same range."""
        if self.dtype is DType.INT16:
            scale, zero_point = scale / 256, 0
        type_ = TensorType(self.dtype, shape, Quantization((float(np.float32(scale)),), (zero_point,), None))
        return self.builder.value(name, type_)

    def weights(self, shape: tuple[int, ...], axis: int | None, products: int) -> list[str]:
        """Weights of a trained network's distribution, so that results use the range of their type; and a bias."""
        data = np.clip(np.round(self.rng.normal(0, 40, shape)), -127, 127).astype(np.int8)
        count = 1 if axis is None else shape[axis]
        step = 0.5 / (40 * np.sqrt(products))
        scales = tuple(float(np.float32(s)) for s in step * self.rng.uniform(0.5, 1.5, count))
        w = self.builder.value("w", TensorType(DType.INT8, shape, Quantization(scales, (0,) * count, axis)), data)
        outputs = shape[0] if axis is None else shape[axis]
        is_wide = self.dtype is DType.INT16
        bias = self.rng.integers(-2000, 2000, outputs).astype(np.int64 if is_wide else np.int32)
        return [w, self.builder.value("b", TensorType(DType.INT64 if is_wide else DType.INT32, bias.shape), bias)]

    def finish(self, op: Op, inputs: list[str], y: str) -> Graph:
        self.builder.node(op, list(inputs), [y], name=self.builder.name)
        self.builder.inputs += [name for name in inputs if not self.builder.values[name].is_constant]
        self.builder.outputs.append(y)
        return self.builder.build()


def _same(size: int, taps: int, stride: int) -> tuple[int, int, int]:
    """Rows or columns of the result, padding before and after, as TensorFlow's SAME."""
    count = -(-size // stride)
    total = max(0, (count - 1) * stride + taps - size)
    return count, total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes layers with activations of one type."""

    dtype: DType

    def layer(self, name: str) -> _Layer:
        name = name if self.dtype is DType.INT8 else f"{name}_{self.dtype.suffix}"
        return _Layer(GraphBuilder(name), np.random.default_rng(sum(name.encode())), self.dtype)

    @property
    def rounding(self) -> Rounding:
        """Of convolutions."""
        return Rounding.REDUCED if self.dtype is DType.INT16 else Rounding.DOUBLE

    def convolution(self, x: tuple[int, int, int], outputs: int, kh: int, kw: int, stride: int) -> Graph:
        make = self.layer(f"conv2d_{'x'.join(map(str, (*x, outputs, kh, kw, stride)))}")
        (rows, top, bottom), (columns, left, right) = _same(x[0], kh, stride), _same(x[1], kw, stride)
        op = Conv2D(stride, stride, 1, 1, Padding(top, bottom, left, right), Activation.RELU, self.rounding)
        source = make.tensor("x", (1, *x), 0.05, -128)
        weights = make.weights((outputs, kh, kw, x[2]), 0, kh * kw * x[2])
        return make.finish(op, [source, *weights], make.tensor("y", (1, rows, columns, outputs), 0.05, -128))

    def depthwise(self, x: tuple[int, int, int], kh: int, kw: int, stride: int) -> Graph:
        make = self.layer(f"depthwise_{'x'.join(map(str, (*x, kh, kw, stride)))}")
        (rows, top, bottom), (columns, left, right) = _same(x[0], kh, stride), _same(x[1], kw, stride)
        padding = Padding(top, bottom, left, right)
        op = DepthwiseConv2D(stride, stride, 1, 1, padding, Activation.RELU, self.rounding, depth_multiplier=1)
        source = make.tensor("x", (1, *x), 0.05, -128)
        weights = make.weights((1, kh, kw, x[2]), 3, kh * kw)
        return make.finish(op, [source, *weights], make.tensor("y", (1, rows, columns, x[2]), 0.05, -128))

    def fully_connected(self, inputs: int, outputs: int) -> Graph:
        make = self.layer(f"fully_connected_{inputs}x{outputs}")
        op = FullyConnected(Activation.RELU, Rounding.SINGLE, keep_dims=False)
        source = make.tensor("x", (1, inputs), 0.05, -128)
        weights = make.weights((outputs, inputs), None, inputs)
        return make.finish(op, [source, *weights], make.tensor("y", (1, outputs), 0.05, -128))

    def plain(self, name: str, op: Op, operands: tuple[tuple[int, ...], ...], y: tuple[int, ...], scale: float = 0.07
              ) -> Graph:  # fmt: skip
        make = self.layer(f"{name}_{'x'.join(map(str, (*operands[0], *y)))}")
        names = [make.tensor(f"x{i}", (1, *shape), 0.05, -3) for i, shape in enumerate(operands)]
        return make.finish(op, names, make.tensor("y", (1, *y), scale, -3))

    def softmax(self, count: int) -> Graph:
        make = self.layer(f"softmax_{count}")
        source = make.tensor("x", (1, count), 0.1, 10)
        return make.finish(Softmax(1.0), [source], make.tensor("y", (1, count), 1 / 256, -128))
