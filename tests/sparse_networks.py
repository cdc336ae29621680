"""Random networks with much that cannot matter: zero filters, zero taps, unread and saturated channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from networks import NetworkMaker

from midge.ir.graph import Graph
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh

NO_PADDING = Padding(0, 0, 0, 0)


class SparseMaker(NetworkMaker):
    """A network maker whose weights have zero filters, inputs that few outputs read, and unused taps."""

    def _weights(self, shape: tuple[int, ...], axis: int, scales: int) -> list[str]:
        names = super()._weights(shape, axis, scales)
        data = self._data(names[0]).copy()
        bias = self._data(names[1]).copy()
        for other in range(len(shape)):
            if other == axis or self.rng.random() < 0.5:
                data[(slice(None),) * other + (self.rng.random(shape[other]) < 0.4,)] = 0
        loud = self.rng.random(bias.size) < 0.3
        bias[loud] *= 500  # saturates some channels whatever the input
        self._store(names[0], data)
        self._store(names[1], bias)
        return names

    def apply(self, op: Op, inputs: list[str], shape: tuple[int, ...], *, same: bool = False) -> str:
        """Any operator; `same` gives its result the first operand's scale and zero point."""
        return self._layer(op, inputs, shape, self.builder.values[inputs[0]].type.quantization if same else None)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.builder.values[name].type.shape

    def grouped(self, x: str, groups: int, outputs: int, kernel: tuple[int, int]) -> str:
        shape = self.shape(x)
        op = Conv2D(1, 1, 1, 1, Padding(1, 0, 0, 1), Activation.RELU, Rounding.DOUBLE)
        weights = self._weights((groups * outputs, *kernel, shape[3] // groups), 0, 1)
        return self._layer(op, [x, *weights], self._window(shape, kernel, 1, 1, op.padding, groups * outputs))

    def multiplied(self, x: str, multiplier: int, kernel: tuple[int, int]) -> str:
        shape = self.shape(x)
        channels = shape[3] * multiplier
        op = DepthwiseConv2D(1, 1, 1, 1, Padding(0, 1, 1, 0), Activation.NONE, Rounding.DOUBLE, multiplier)
        weights = self._weights((1, *kernel, channels), 3, channels)
        return self._layer(op, [x, *weights], self._window(shape, kernel, 1, 1, op.padding, channels))

    def concatenation(self, a: str, b: str) -> str:
        shape = self.shape(a)
        b = self.apply(Quantize(), [b], self.shape(b))
        type_ = replace(self.builder.values[b].type, quantization=self.builder.values[a].type.quantization)
        self.builder.values[b] = replace(self.builder.values[b], type=type_)
        axis = int(self.rng.integers(1, 4))
        after = list(shape)
        after[axis] *= 2
        return self.apply(Concatenation(axis, Activation.NONE), [a, b], tuple(after), same=True)

    def pad(self, x: str) -> str:
        shape = self.shape(x)
        pairs = ((0, 0), *((int(self.rng.integers(2)), int(self.rng.integers(3))) for _ in range(3)))
        return self.apply(Pad(pairs), [x], tuple(n + sum(p) for n, p in zip(shape, pairs, strict=True)), same=True)

    def with_constant(self, op: Op, x: str, flip: bool) -> str:
        size = self.shape(x)[3] if self.rng.random() < 0.7 else 1
        quantization = Quantization((0.05,), (int(self.rng.integers(-128, 128)),), None)
        constant = self._constant(DType.INT8, self.rng.integers(-128, 128, size, np.int8), quantization)
        return self.apply(op, [constant, x] if flip else [x, constant], self.shape(x))

    def vector(self, x: str) -> str:
        """Flattened, averaged or by pixels into a fully connected layer."""
        kind = self.rng.choice(["dense", "mean", "pixels", "flat", "columns"])
        shape = self.shape(x)
        if kind == "dense":
            return self.dense(x, 5)
        if kind == "mean":
            return self._dense(self.apply(Mean((1, 2), bool(self.rng.integers(2))), [x], (1, shape[3])))
        if kind == "pixels":
            return self._dense(x, shape[3])
        if kind == "flat":
            return self._dense(x, self.builder.values[x].type.elements)
        folded = (1, shape[1], shape[2] * shape[3])
        return self._dense(self.apply(Reshape(folded), [x], folded, same=True), shape[3] if shape[2] > 1 else None)

    def _dense(self, x: str, features: int | None = None) -> str:
        type_ = self.builder.values[x].type
        if len(type_.shape) == 2 and isinstance(self.builder.nodes[-1].op, Mean):
            self.builder.nodes[-1] = replace(self.builder.nodes[-1], op=Mean((1, 2), False))
        features = features or type_.channels
        weights = self._weights((5, features), 0, 1)
        rounding = Rounding.SINGLE if self.rng.random() < 0.5 else Rounding.DOUBLE
        op = FullyConnected(Activation.NONE, rounding, keep_dims=False)
        return self._layer(op, [x, *weights], (type_.elements // features, 5))

    def _data(self, name: str) -> np.ndarray:
        data = self.builder.values[name].data
        assert data is not None
        return data

    def _store(self, name: str, data: np.ndarray) -> None:
        self.builder.value(name, self.builder.values[name].type, data)


def sparse_network(seed: int) -> Graph:
    """A network drawn from a seed, with every operator that the analyses have rules for."""
    rng = np.random.default_rng(seed)
    maker = SparseMaker(seed, int(rng.integers(2, 7)), int(rng.integers(1, 6)), int(rng.integers(1, 5)))
    values = [maker.input]
    for _ in range(int(rng.integers(2, 9))):
        x = values[-1] if rng.random() < 0.8 else values[int(rng.integers(len(values)))]
        values.append(_random_layer(maker, rng, x))
    outputs = [maker.vector(values[-1]) if rng.random() < 0.7 else values[-1]]
    if rng.random() < 0.2 and values[-1] not in outputs:
        outputs.append(values[-1])
    return maker.finish(*outputs)


def _random_layer(maker: SparseMaker, rng: np.random.Generator, x: str) -> str:
    shape = maker.shape(x)
    kernel = (int(rng.integers(1, min(4, shape[1] + 1))), int(rng.integers(1, min(4, shape[2] + 1))))
    channels = int(rng.integers(1, 9))
    kinds = ["conv", "conv", "depthwise", "depthwise", "residual", "pool", "pad", "concatenation", "multiplied",
             "grouped", "constant", "unary", "strided"]  # fmt: skip
    kind = rng.choice(kinds)
    if kind == "residual":
        op = Sub(Activation.NONE) if rng.random() < 0.3 else Mul(Activation.RELU) if rng.random() < 0.2 else None
        inner = maker.conv(x, shape[3], kernel)
        return maker.add(x, inner) if op is None else maker.apply(op, [x, inner], shape)
    if kind == "pool":
        if rng.random() < 0.5:
            return maker.pool(x, kernel, 1, average=bool(rng.integers(2)))
        return maker.apply(MaxPool2D(2, 2, 1, 1, Padding(1, 0, 0, 1), Activation.RELU), [x], shape, same=True)
    if kind == "pad":
        return maker.pad(x)
    if kind == "concatenation":
        return maker.concatenation(maker.conv(x, channels, kernel), maker.conv(x, channels, (1, 1)))
    if kind == "multiplied":
        return maker.multiplied(x, int(rng.integers(1, 4)), (2, 2))
    if kind == "grouped":
        groups = int(rng.choice([size for size in (1, 2, 3, 4) if shape[3] % size == 0]))
        return maker.grouped(x, groups, int(rng.integers(1, 4)), (2, 2))
    if kind == "constant":
        return maker.with_constant(
            Sub(Activation.NONE) if rng.random() < 0.5 else Mul(Activation.NONE), x, rng.random() < 0.5
        )
    if kind == "unary":
        return _unary(maker, rng, x)
    if kind == "depthwise":
        return maker.depthwise(x, kernel, same=bool(rng.integers(2)))
    stride = 2 if kind == "strided" else 1
    return maker.conv(x, channels, kernel, stride=stride, same=kind == "strided" or bool(rng.integers(2)))


def _unary(maker: SparseMaker, rng: np.random.Generator, x: str) -> str:
    if rng.random() < 0.3:
        type_ = TensorType(DType.INT8, maker.shape(x), Quantization((1 / 128,), (0,), None))
        y = maker.builder.value(maker.builder.unique("t"), type_)
        maker.builder.node(Tanh(), [x], [y])
        return y
    return maker.apply(Relu(Activation.RELU6) if rng.random() < 0.5 else Quantize(), [x], maker.shape(x))


def extreme_inputs(graph: Graph, rng: np.random.Generator, count: int) -> list[tuple[np.ndarray, ...]]:
    """Random integer inputs, and those at the ends of the range: all lowest, all highest, checkerboards."""
    low, high = -128, 127

    def filled(make: object) -> tuple[np.ndarray, ...]:
        assert callable(make)
        return tuple(np.asarray(make(graph.type(name).shape), np.int8) for name in graph.inputs)

    samples = [filled(lambda shape: rng.integers(low, high + 1, shape)) for _ in range(count)]
    samples += [filled(lambda shape, v=v: np.full(shape, v)) for v in (low, high)]
    samples += [filled(lambda shape, v=v: np.where(np.indices(shape).sum(axis=0) % 2 == v, low, high)) for v in (0, 1)]
    return samples
