"""Networks that nobody would train, drawn from a seed: odd shapes, extreme scales and zero points, all operators."""

from __future__ import annotations

import math

import numpy as np

from midge.errors import ModelError
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Activation, Op, Padding

MOST_ELEMENTS = 4000
MOST_MACS = 150_000
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16)
FURTHER = 5000
"""The first seed whose network may have layers of `wild_further.py`."""
PARTS = 1_000_000
"""The first seed whose network has layers of `wild_parts.py`: concatenations and slices."""
CHANNELS = (1, 1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 24, 33)


class Wild:
    """A graph that grows by whole layers, and the dice that all choices come from."""

    def __init__(self, seed: int, is_float: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.is_float = is_float
        self.builder = GraphBuilder(f"wild_{seed}")

    # Dice

    def some(self, *choices: object) -> object:
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, *choices: int) -> int:
        return int(choices[int(self.rng.integers(len(choices)))])

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def zero_point(self) -> int:
        return self.whole(-128, 127, 0, int(self.rng.integers(-128, 128)), int(self.rng.integers(-128, 128)))

    def scale(self, about: float = 0.05, decades: float = 1.0) -> float:
        """Near `about`, at most `decades` powers of ten away; now and then a power of two."""
        found = about * 10 ** self.rng.uniform(-decades, decades)
        return float(np.float32(2.0 ** round(math.log2(found)) if self.chance(0.2) else found))

    def activation(self) -> Activation:
        return Activation(self.some("none", "none", "relu", "relu6", "relu_n1_to_1"))

    def padding(self, kernel: tuple[int, int]) -> Padding:
        """None, or some on each side, unevenly; less than the kernel."""
        if self.chance(0.3):
            return Padding(0, 0, 0, 0)
        below = [int(self.rng.integers(0, size)) for size in (kernel[0], kernel[0], kernel[1], kernel[1])]
        return Padding(*below)

    def axis(self, shape: tuple[int, ...]) -> int:
        """Any but the batch; of a vector without one, its only axis."""
        return int(self.rng.integers(1, len(shape))) if len(shape) > 1 else 0

    # Values

    def type_of(self, name: str) -> TensorType:
        return self.builder.values[name].type

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self.type_of(name).shape

    def like(self, name: str, shape: tuple[int, ...]) -> TensorType:
        """The type of a value, with another shape."""
        return TensorType(self.type_of(name).dtype, shape, self.type_of(name).quantization)

    def typed(self, shape: tuple[int, ...], scale: float | None = None) -> TensorType:
        if self.is_float:
            return TensorType(DType.FLOAT32, shape)
        scale = self.scale() if scale is None else float(np.float32(scale))
        return TensorType(DType.INT8, shape, Quantization((scale,), (self.zero_point(),), None))

    def value(self, type_: TensorType, data: np.ndarray | None = None) -> str:
        return self.builder.value(self.builder.unique("v" if data is None else "c"), type_, data)

    def constant(self, type_: TensorType) -> str:
        """Values over the whole range of a type."""
        if type_.dtype.is_float:
            return self.value(type_, self.rng.standard_normal(type_.shape).astype(np.float32))
        return self.value(type_, self.rng.integers(-128, 128, type_.shape).astype(np.int8))

    def input(self, shape: tuple[int, ...]) -> str:
        name = self.value(self.typed(shape))
        self.builder.inputs.append(name)
        return name

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[TensorType, np.ndarray]:
        """Weights with one scale or one for each output channel, even far apart; dense, sparse, or at the ends."""
        if self.is_float:
            return TensorType(DType.FLOAT32, shape), self.rng.standard_normal(shape).astype(np.float32)
        data = self.rng.integers(-127, 128, shape)
        kind = self.some("dense", "dense", "dense", "sparse", "ends", "small")
        if kind == "sparse":
            data = np.where(self.rng.random(shape) < 0.7, 0, data)
        elif kind == "ends":
            data = np.where(data > 0, 127, -127)
        elif kind == "small":
            data = self.rng.integers(-2, 3, shape)
        if self.chance(0.15):  # a channel that is a constant
            data = np.moveaxis(data, axis, 0).copy()
            data[int(self.rng.integers(shape[axis]))] = 0
            data = np.moveaxis(data, 0, axis)
        count, decades = (shape[axis], self.some(0.1, 0.5, 2.5)) if self.chance(0.7) else (1, 1.0)
        assert isinstance(decades, float)
        scales = tuple(self.scale(0.004, decades) for _ in range(count))
        return TensorType(
            DType.INT8, shape, Quantization(scales, (0,) * count, axis if count > 1 else None)
        ), data.astype(np.int8)

    def bias(self, channels: int) -> str | None:
        if self.chance(0.15):
            return None
        if self.is_float:
            return self.constant(TensorType(DType.FLOAT32, (channels,)))
        most = self.whole(100, 5000, 5000, 200_000, 1 << 24)
        return self.value(TensorType(DType.INT32, (channels,)), self.rng.integers(-most, most, channels, np.int32))

    def result_scale(self, x: str, weights: TensorType, data: np.ndarray, axis: int) -> float:
        """A scale of results by which they use the range; or far less of it; or much more, and saturate."""
        if self.is_float:
            return 1.0
        assert weights.quantization is not None
        x_scale = self.type_of(x).quantization
        assert x_scale is not None
        spread = math.sqrt(float((data.astype(np.float64) ** 2).sum() / data.shape[axis])) * 74 + 1
        about = x_scale.scale * float(np.median(weights.quantization.scales)) * spread
        return max(about / 40 * float(self.some(1.0, 1.0, 0.6, 4.0, 0.05, 60.0)), 1e-12)  # type: ignore[arg-type]

    # Layers

    def layer(self, op: Op, inputs: list[str | None], *outputs: TensorType) -> str | None:
        """The first result of a new node; None where the operator's own rules, or the limits of size, forbid it."""
        types = [None if name is None else self.type_of(name) for name in inputs]
        if max(type_.elements for type_ in outputs) > MOST_ELEMENTS or op.macs(types, outputs) > MOST_MACS:
            return None
        try:
            op.check(types, outputs)
        except ModelError:
            return None
        names = [self.value(type_) for type_ in outputs]
        self.builder.node(op, inputs, names)
        return names[0]


def wild_network(seed: int) -> Graph:
    """One or two inputs, 1 to 9 layers, each on one of the latest values; all that nobody reads is an output.

    Every eighth network is float32.
    """
    from wild_further import LAYERS as ALL
    from wild_layers import LAYERS
    from wild_parts import LAYERS as OF_PARTS

    maker = Wild(seed, is_float=seed % 8 == 7)
    images = not maker.chance(0.15)
    shape = (
        (1, maker.whole(*SIZES), maker.whole(*SIZES), maker.whole(*CHANNELS)) if images else (1, maker.whole(*SIZES))
    )
    values = [maker.input(shape)]
    if maker.chance(0.15):
        values.append(maker.input(shape if maker.chance(0.5) else (1, maker.whole(*CHANNELS))))
    listed = OF_PARTS if seed >= PARTS else ALL if seed >= FURTHER else LAYERS
    kinds, weights = zip(*listed, strict=True)
    odds = np.array(weights) / sum(weights)
    wanted, tries = int(maker.rng.integers(1, 10)), 0
    while len(maker.builder.nodes) < wanted and tries < 60:
        tries += 1
        kind = kinds[int(maker.rng.choice(len(kinds), p=odds))]
        x = values[-1] if maker.chance(0.75) else values[int(maker.rng.integers(len(values)))]
        made = kind(maker, x, values)
        if made is not None:
            values.append(made)
    return _finished(maker)


def _finished(maker: Wild) -> Graph:
    builder = maker.builder
    held = {state.after for state in builder.states}
    read = {name for node in builder.nodes for name in node.inputs}
    made = [name for node in builder.nodes for name in node.outputs]
    open_ends = [name for name in made if name not in read and name not in held]
    more = [name for name in made if name in read and name not in held and maker.chance(0.06)]
    builder.outputs += open_ends or [maker.builder.inputs[0]]
    builder.outputs += more
    return builder.build()
