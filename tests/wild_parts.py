"""Wild networks of parts: branches that are concatenated, slices that go their own ways, rows kept from run to run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from wild_networks import MOST_ELEMENTS, Wild
from wild_weighted import conv, depthwise

from midge.ir.graph import State
from midge.ops.base import Activation, Padding, Rounding
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.rearrange import rearrangement
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape


def branches(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Two to four values made from one, which may be among them, side by side: in channels, columns or rows."""
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    axis = maker.whole(3, 3, 3, 2, 1)
    parts: list[str] = []
    for _ in range(maker.whole(2, 2, 3, 4)):
        made = _branch(maker, x, shape[3] if axis < 3 else None)
        if made is not None and made not in parts:
            parts.append(made)
    return concatenated(maker, parts, axis)


def concatenated(maker: Wild, parts: Sequence[str], axis: int) -> str | None:
    """Parts of one type but for an axis; now and then in another order."""
    if not parts:
        return None
    ordered = [parts[int(index)] for index in maker.rng.permutation(len(parts))] if maker.chance(0.3) else list(parts)
    shape = list(maker.shape_of(parts[0]))
    shape[axis] = sum(maker.shape_of(name)[axis] for name in parts)
    return maker.layer(Concatenation(axis, Activation.NONE), [*ordered], maker.like(parts[0], tuple(shape)))


def _branch(maker: Wild, x: str, channels: int | None) -> str | None:
    """A value of the same type and size but for its channels."""
    shape = maker.shape_of(x)
    kind = maker.some("conv", "conv", "depthwise", "pool", "relu", "itself")
    kernel = (maker.whole(1, 1, 3), maker.whole(1, 1, 3))
    padding = Padding(kernel[0] // 2, kernel[0] // 2, kernel[1] // 2, kernel[1] // 2)
    if kind == "itself":
        return x
    if kind == "relu":
        return maker.layer(Relu(Activation.RELU6), [x], maker.type_of(x))
    if kind == "pool":
        return maker.layer(MaxPool2D(*kernel, 1, 1, padding, Activation.NONE), [x], maker.type_of(x))
    if kind == "depthwise":
        weights, data = maker.weights((1, *kernel, shape[3]), 3)
        op = DepthwiseConv2D(1, 1, 1, 1, padding, maker.activation(), Rounding.DOUBLE, 1)
        return maker.layer(op, [x, maker.value(weights, data), maker.bias(shape[3])], maker.type_of(x))
    outputs = channels or maker.whole(1, 2, 4, 4, 8, 8, 12, 16)
    weights, data = maker.weights((outputs, *kernel, shape[3]), 0)
    op = Conv2D(1, 1, 1, 1, padding, maker.activation(), Rounding.DOUBLE)
    return maker.layer(op, [x, maker.value(weights, data), maker.bias(outputs)], maker.like(x, (*shape[:3], outputs)))


def slices(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Two to four slices along an axis; some go through a layer, and all or some may come together again."""
    shape = maker.shape_of(x)
    axis = maker.axis(shape)
    count = min(maker.whole(2, 2, 3, 4), shape[axis])
    if count < 2:
        return None
    even = shape[axis] % count == 0 and maker.chance(0.6)
    cuts = sorted(set(maker.rng.integers(1, shape[axis], count - 1).tolist()))
    positions = np.arange(math.prod(shape)).reshape(shape)
    made = []
    for part in np.split(positions, count if even else cuts, axis):
        op = rearrangement(part)
        name = None if op is None else maker.layer(op, [x], maker.like(x, part.shape))
        if name is not None:
            layer = (None, None, conv, depthwise, _rectified)[int(maker.rng.integers(5))]
            made.append((layer and layer(maker, name, values)) or name)
    alike = [name for name in made if _fits(maker, name, made[0], axis)]
    return concatenated(maker, alike, axis) if maker.chance(0.5) else made[-1] if made else None


def _fits(maker: Wild, a: str, b: str, axis: int) -> bool:
    """True where two values can be concatenated along an axis."""
    first, second = maker.type_of(a), maker.type_of(b)
    rest = [(*t.shape[:axis], *t.shape[axis + 1 :]) for t in (first, second)]
    return len(first.shape) == len(second.shape) and rest[0] == rest[1] and first.quantization == second.quantization


def _rectified(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    return maker.layer(Relu(Activation.RELU), [x], maker.type_of(x))


def kept_rows(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """The last rows of earlier runs before those of this one; the last of all are kept, as a streaming network does."""
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4 or maker.is_float:
        return None
    kept = maker.whole(1, 2, 3, 4)
    if (shape[1] + kept) * math.prod(shape[2:]) > MOST_ELEMENTS:
        return None
    before = maker.value(maker.like(x, (1, kept, *shape[2:])))
    joined = concatenated(maker, [before, x], 1)
    assert joined is not None
    op = rearrangement(np.arange(math.prod(maker.shape_of(joined))).reshape(maker.shape_of(joined))[:, -kept:])
    assert op is not None
    after = maker.layer(op, [joined], maker.type_of(before))
    assert after is not None
    initial = np.full(maker.shape_of(before), maker.type_of(x).zero_point, np.int8)
    initial.setflags(write=False)
    maker.builder.states.append(State(before, after, initial))
    return joined


def flattened(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Seen with other rows, as heads of detectors are before they are concatenated."""
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4 or shape[1] * shape[2] == 1:
        return None
    other = (1, shape[1] * shape[2], shape[3])
    seen = maker.layer(Reshape(other), [x], maker.like(x, other))
    more = conv(maker, x, ()) if maker.chance(0.7) else None
    if seen is None or more is None or maker.shape_of(more)[3] != shape[3]:
        return seen
    size = maker.shape_of(more)
    rest = maker.layer(
        Reshape((1, size[1] * size[2], size[3])), [more], maker.like(more, (1, size[1] * size[2], size[3]))
    )
    if rest is None or maker.type_of(rest).quantization != maker.type_of(seen).quantization:
        return seen
    return concatenated(maker, [seen, rest], 1)


LAYERS = ((branches, 5), (slices, 3), (kept_rows, 0.5), (flattened, 0.7), (conv, 2), (depthwise, 1.5), (_rectified, 1))
"""Each with how often it is drawn."""
