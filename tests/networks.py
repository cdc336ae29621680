"""Random small networks for tests: chains, branches and residual edges of convolutions, additions and pools."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.rearrange import rearrangement
from midge.ops.reshape import Reshape


class NetworkMaker:
    """Grows a graph of int8 layers, one call a layer; names of values go in and come out."""

    def __init__(self, seed: int, height: int, width: int, channels: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder(f"random_{seed}")
        self.input = self._value("x", (1, height, width, channels))
        self.builder.inputs.append(self.input)

    def conv(self, x: str, channels: int, kernel: tuple[int, int], *, stride: int = 1, dilation: int = 1,
             same: bool = True, activation: Activation = Activation.RELU, like: str | None = None) -> str:  # fmt: skip
        """`like`: the result has this value's quantisation."""
        shape = self.builder.values[x].type.shape
        padding = _padding(shape, kernel, stride, dilation, same)
        op = Conv2D(stride, stride, dilation, dilation, padding, activation, Rounding.DOUBLE)
        weights = self._weights((channels, *kernel, shape[3]), 0, channels)
        window = self._window(shape, kernel, stride, dilation, padding, channels)
        return self._layer(op, [x, *weights], window, self._quantization(like))

    def depthwise(self, x: str, kernel: tuple[int, int], *, stride: int = 1, same: bool = True,
                  like: str | None = None) -> str:  # fmt: skip
        shape = self.builder.values[x].type.shape
        padding = _padding(shape, kernel, stride, 1, same)
        op = DepthwiseConv2D(stride, stride, 1, 1, padding, Activation.RELU, Rounding.DOUBLE, depth_multiplier=1)
        weights = self._weights((1, *kernel, shape[3]), 3, shape[3])
        window = self._window(shape, kernel, stride, 1, padding, shape[3])
        return self._layer(op, [x, *weights], window, self._quantization(like))

    def add(self, a: str, b: str) -> str:
        return self._layer(Add(Activation.NONE), [a, b], self.builder.values[a].type.shape)

    def pool(self, x: str, kernel: tuple[int, int], stride: int, *, average: bool) -> str:
        shape = self.builder.values[x].type.shape
        padding = Padding(0, 0, 0, 0)
        kind = AveragePool2D if average else MaxPool2D
        op = kind(*kernel, stride, stride, padding, Activation.NONE)
        window = self._window(shape, kernel, stride, 1, padding, shape[3])
        return self._layer(op, [x], window, self.builder.values[x].type.quantization)

    def concat(self, parts: Sequence[str], axis: int) -> str:
        """Parts with one quantisation."""
        shape = list(self.builder.values[parts[0]].type.shape)
        shape[axis] = sum(self.builder.values[part].type.shape[axis] for part in parts)
        op = Concatenation(axis, Activation.NONE)
        return self._layer(op, list(parts), tuple(shape), self._quantization(parts[0]))

    def part(self, x: str, axis: int, first: int, count: int) -> str:
        """Indices `first` and on, along an axis."""
        shape = self.builder.values[x].type.shape
        op = rearrangement(np.arange(math.prod(shape)).reshape(shape).take(range(first, first + count), axis))
        assert op is not None
        return self._layer(op, [x], op.shape, self._quantization(x))

    def _quantization(self, like: str | None) -> Quantization | None:
        return None if like is None else self.builder.values[like].type.quantization

    def dense(self, x: str, outputs: int) -> str:
        type_ = self.builder.values[x].type
        flat = self.builder.value(
            self.builder.unique("flat"), TensorType(DType.INT8, (1, type_.elements), type_.quantization)
        )
        self.builder.node(Reshape((1, type_.elements)), [x], [flat])
        weights = self._weights((outputs, type_.elements), 0, 1)
        bias = self._constant(DType.INT32, self.rng.integers(-999, 999, outputs, np.int32), None)
        op = FullyConnected(Activation.NONE, Rounding.SINGLE, keep_dims=False)
        return self._layer(op, [flat, weights[0], bias], (1, outputs))

    def finish(self, *outputs: str) -> Graph:
        self.builder.outputs += outputs
        return self.builder.build()

    def _layer(self, op: Op, inputs: list[str], shape: tuple[int, ...], quantization: Quantization | None = None
               ) -> str:  # fmt: skip
        out = self._value("v", shape, quantization)
        self.builder.node(op, list(inputs), [out])
        return out

    def _value(self, name: str, shape: tuple[int, ...], quantization: Quantization | None = None) -> str:
        if quantization is None:
            zero_point = int(self.rng.integers(-128, 128))
            quantization = Quantization((float(np.float32(self.rng.uniform(0.02, 0.2))),), (zero_point,), None)
        return self.builder.value(self.builder.unique(name), TensorType(DType.INT8, shape, quantization))

    def _weights(self, shape: tuple[int, ...], axis: int, scales: int) -> list[str]:
        data = self.rng.integers(-127, 128, shape, np.int8)
        values = tuple(float(np.float32(s)) for s in self.rng.uniform(0.001, 0.004, scales))
        quantization = Quantization(values, (0,) * scales, axis if scales > 1 else None)
        bias = self.rng.integers(-999, 999, shape[axis], np.int32)
        return [self._constant(DType.INT8, data, quantization), self._constant(DType.INT32, bias, None)]

    def _constant(self, dtype: DType, data: np.ndarray, quantization: Quantization | None) -> str:
        return self.builder.value(self.builder.unique("c"), TensorType(dtype, data.shape, quantization), data)

    @staticmethod
    def _window(shape: tuple[int, ...], kernel: tuple[int, int], stride: int, dilation: int, padding: Padding,
                channels: int) -> tuple[int, ...]:  # fmt: skip
        rows = (shape[1] + padding.top + padding.bottom - (kernel[0] - 1) * dilation - 1) // stride + 1
        columns = (shape[2] + padding.left + padding.right - (kernel[1] - 1) * dilation - 1) // stride + 1
        return (1, rows, columns, channels)


def _padding(shape: tuple[int, ...], kernel: tuple[int, int], stride: int, dilation: int, same: bool) -> Padding:
    if not same:
        return Padding(0, 0, 0, 0)
    sides = []
    for size, taps in zip(shape[1:3], kernel, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
        sides += [total // 2, total - total // 2]
    return Padding(*sides)


def random_network(seed: int) -> Graph:
    """A network drawn from a seed: 2 to 7 layers with strides, dilations, pads, residual edges and branches."""
    rng = np.random.default_rng(seed)
    maker = NetworkMaker(seed, int(rng.integers(5, 15)), int(rng.integers(1, 8)), int(rng.integers(1, 6)))
    x = maker.input
    for _ in range(int(rng.integers(2, 8))):
        x = _random_layer(maker, rng, x)
    outputs = [maker.dense(x, int(rng.integers(1, 6))) if rng.random() < 0.5 else x]
    if rng.random() < 0.2 and x != maker.input:
        outputs.append(maker.conv(x, 2, (1, 1)))
    return maker.finish(*outputs)


def _random_layer(maker: NetworkMaker, rng: np.random.Generator, x: str) -> str:
    shape = maker.builder.values[x].type.shape
    kernel = (int(rng.integers(1, min(4, shape[1]) + 1)), int(rng.integers(1, min(3, shape[2]) + 1)))
    stride = int(rng.integers(1, 3)) if min(shape[1:3]) > 3 else 1
    kind = rng.choice(["conv", "dilated", "valid", "depthwise", "residual", "branch", "pool"])
    if kind == "residual":
        inner = maker.conv(maker.depthwise(x, kernel), shape[3], (1, 1))
        return maker.add(x, inner)
    if kind == "branch":
        return maker.add(maker.conv(x, 4, kernel, stride=stride), maker.conv(x, 4, (1, 1), stride=stride))
    if kind == "pool":
        return maker.pool(x, kernel, stride, average=bool(rng.integers(2)))
    if kind == "depthwise":
        return maker.depthwise(x, kernel, stride=stride)
    if kind == "dilated":
        return maker.conv(x, int(rng.integers(1, 6)), kernel, dilation=2)
    return maker.conv(x, int(rng.integers(1, 9)), kernel, stride=stride, same=kind == "conv")


def random_network_of_parts(seed: int) -> Graph:
    """2 to 6 layers, most of them concatenated branches, or slices: of rows, columns or channels, some nested."""
    rng = np.random.default_rng(seed)
    maker = NetworkMaker(seed, int(rng.integers(3, 10)), int(rng.integers(1, 6)), 4 * int(rng.integers(1, 3)))
    x = maker.conv(maker.input, 8, (1, 1))
    for _ in range(int(rng.integers(2, 7))):
        kind = rng.choice(["branches", "branches", "split", "grow", "layer"])
        shape = maker.builder.values[x].type.shape
        axis = int(rng.choice([1, 2, 3, 3, 3]))
        if kind == "layer" or math.prod(shape) > 3000:
            x = _random_layer(maker, rng, x)
        elif kind == "split" and shape[axis] > 1:
            at = 4 if axis == 3 and shape[3] > 4 else int(rng.integers(1, shape[axis]))
            pair = [maker.part(x, axis, 0, at), maker.part(x, axis, at, shape[axis] - at)]
            pair[0] = maker.depthwise(pair[0], (1, 1), like=x)
            x = maker.concat(pair[:: int(rng.choice([1, -1]))], axis) if rng.random() < 0.6 else pair[-1]
        else:
            first = x if kind == "grow" else maker.conv(x, shape[3], (1, 1))
            channels = 4 * int(rng.integers(1, 4)) if axis == 3 else shape[3]
            inner = maker.conv(x, int(rng.integers(1, 5)), (1, 1)) if rng.random() < 0.4 else x
            second = maker.conv(inner, channels, (min(3, shape[1]), min(3, shape[2])), like=first)
            x = maker.concat([first, second], axis)
    return maker.finish(x if x != maker.input else maker.conv(x, 1, (1, 1)))
