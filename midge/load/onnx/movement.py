"""Operators that move elements: none of them makes a node of the graph by itself (`midge.load.onnx.held`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.onnx.elementwise import is_whole
from midge.load.onnx.held import MOST_ELEMENTS, Held, Known
from midge.load.onnx.scales import quantized_as
from midge.load.onnx.site import Site
from midge.ops.base import Activation
from midge.ops.concatenation import Concatenation


def identity(site: Site) -> None:
    site.bind(site.operand(0))


def dropout(site: Site) -> None:
    """Dropout at inference: nothing."""
    if site.is_read(1) or (site.has(2) and site.known(2, "the mode").any()):
        site.unsupported("training mode, or the mask as a result")
    site.bind(site.operand(0))


def moved(move: Callable[[Site, np.ndarray], np.ndarray]) -> Callable[[Site], None]:
    """A row that does to the order of the elements what the operator does to the elements."""

    def row(site: Site) -> None:
        x = site.held(0)
        site.bind(x.rearranged(move(site, x.order)))

    return row


def reshape(site: Site, x: np.ndarray) -> np.ndarray:
    wanted = site.integers("shape", 1)
    if wanted is None:
        site.broken("no new shape", "one")
    sizes = list(wanted)
    for axis, size in enumerate(sizes):
        if size == 0 and not site.attribute("allowzero", 0) and axis < x.ndim:
            sizes[axis] = x.shape[axis]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and x.size % known == 0:
        sizes[sizes.index(-1)] = x.size // known
    if min(sizes, default=1) < 0 or math.prod(sizes) != x.size:
        site.broken(f"the new shape {list(wanted)}", f"{x.size} elements, as the input has")
    return x.reshape(sizes)


def flatten(site: Site, x: np.ndarray) -> np.ndarray:
    axis = int(site.attribute("axis", 1))
    axis = x.ndim if axis == x.ndim else site.axis(axis, max(x.ndim, 1))
    return x.reshape(math.prod(x.shape[:axis]), -1)


def transpose(site: Site, x: np.ndarray) -> np.ndarray:
    axes = site.integers("perm") or tuple(range(x.ndim))[::-1]
    if sorted(axes) != list(range(x.ndim)):
        site.broken(f"the order {list(axes)} for rank {x.ndim}", "each axis once")
    return x.transpose(axes)


def squeeze(site: Site, x: np.ndarray) -> np.ndarray:
    named = site.integers("axes", 1)
    axes = [axis for axis in range(x.ndim) if x.shape[axis] == 1] if named is None else [
        site.axis(axis, x.ndim) for axis in named
    ]  # fmt: skip
    if any(x.shape[axis] != 1 for axis in axes):
        site.broken(f"axes {axes} of shape {list(x.shape)}", "axes of size 1")
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


def unsqueeze(site: Site, x: np.ndarray) -> np.ndarray:
    named = site.integers("axes", 1) or ()
    rank = x.ndim + len(named)
    axes = sorted(site.axis(axis, rank) for axis in named)
    if len(set(axes)) != len(axes):
        site.broken(f"axes {axes}", "each axis once")
    sizes = list(x.shape)
    for axis in axes:
        sizes.insert(axis, 1)
    return x.reshape(sizes)


def slice_of(site: Site, x: np.ndarray) -> np.ndarray:
    starts, ends = site.integers("starts", 1), site.integers("ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        site.broken("starts and ends of different length", "one of each for each axis")
    axes = site.integers("axes", 3) or tuple(range(len(starts)))
    steps = site.integers("steps", 4) or (1,) * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or 0 in steps:
        site.broken(f"axes {list(axes)}, steps {list(steps)}", "one for each start, no step of 0")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        position = site.axis(axis, x.ndim)
        last = None if step < 0 and end < -x.shape[position] else end
        index = [slice(None)] * x.ndim
        index[position] = slice(start, last, step)
        x = x[tuple(index)]
    if x.size == 0:
        site.broken("a slice without elements", "at least one")
    return x


def gather(site: Site, x: np.ndarray) -> np.ndarray:
    """Gather by constant indices."""
    indices = site.known(1, "indices")
    axis = site.axis(int(site.attribute("axis", 0)), x.ndim)
    if indices.dtype.kind not in "iu" or indices.size == 0:
        site.broken(f"indices of type {indices.dtype}", "integers")
    if indices.min() < -x.shape[axis] or indices.max() >= x.shape[axis]:
        site.broken(f"indices {indices.min()} to {indices.max()}", f"within {x.shape[axis]} elements")
    if indices.size * (x.size // x.shape[axis]) > MOST_ELEMENTS:
        site.unsupported("so many indices")
    return np.take(x, indices, axis=axis)


def expand(site: Site, x: np.ndarray) -> np.ndarray:
    wanted = site.integers("shape", 1) or ()
    try:
        shape = np.broadcast_shapes(x.shape, wanted)
    except ValueError:
        site.broken(f"the shape {list(wanted)} for {list(x.shape)}", "shapes that broadcast")
    if math.prod(shape) > MOST_ELEMENTS:
        site.unsupported(f"a tensor of shape {list(shape)}")
    return np.broadcast_to(x, shape)


def space_to_depth(site: Site, x: np.ndarray) -> np.ndarray:
    size = int(site.attribute("blocksize", 1))
    if x.ndim != 4 or size < 1 or x.shape[2] % size or x.shape[3] % size:
        site.broken(f"blocks of {size} in shape {list(x.shape)}", "blocks that divide height and width")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // size, size, w // size, size)
    blocks = blocks.transpose((0, 3, 5, 1, 2, 4) if site.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4))
    return blocks.reshape(n, c * size * size, h // size, w // size)


def depth_to_space(site: Site, x: np.ndarray) -> np.ndarray:
    size = int(site.attribute("blocksize", 1))
    if x.ndim != 4 or size < 1 or x.shape[1] % (size * size):
        site.broken(f"blocks of {size} from shape {list(x.shape)}", "channels for whole blocks")
    n, c, h, w = x.shape
    if site.attribute("mode", "DCR") == "DCR":
        blocks = x.reshape(n, size, size, -1, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, -1, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // (size * size), h * size, w * size)


def split(site: Site) -> None:
    x = site.held(0)
    axis = site.axis(int(site.attribute("axis", 0)), len(x.shape))
    sizes = site.integers("split", 1)
    if sizes is None:
        part = -(-x.shape[axis] // len(site.node.outputs))
        sizes = tuple(min(part, x.shape[axis] - first) for first in range(0, x.shape[axis], part))
    if sum(sizes) != x.shape[axis] or len(sizes) != len(site.node.outputs) or min(sizes) < 0:
        site.broken(f"parts {list(sizes)} of {x.shape[axis]}", "parts that make up the whole, one for each result")
    ends = np.cumsum(sizes)[:-1]
    for position, order in enumerate(np.split(x.order, ends, axis)):
        if site.node.outputs[position]:
            site.bind(x.rearranged(order), position)


def concat(site: Site) -> None:
    """Concat along any axis; int8 operands come to one scale first."""
    operands = [site.operand(position) for position in range(len(site.node.inputs))]
    first = next(operand for operand in operands if isinstance(operand, Held))
    operands = [operand for operand in operands if operand is first or 0 not in operand.shape]
    rank = len(first.shape)
    axis = site.axis(int(site.attribute("axis", 0)), rank)
    for operand in operands:
        if len(operand.shape) != rank or any(
            a != b for k, (a, b) in enumerate(zip(operand.shape, first.shape, strict=False)) if k != axis
        ):
            site.broken(f"shapes {[list(operand.shape) for operand in operands]}", f"equal shapes but for axis {axis}")
    target = None
    if all(isinstance(operand, Known) or operand.is_real for operand in operands):
        target = site.target(fuses=False)
    axes = first.axes or tuple(range(rank))
    names = []
    for operand in operands:
        if isinstance(operand, Known):
            data = operand.array.astype(np.float32).transpose(axes)
            type_ = TensorType(DType.FLOAT32, data.shape)
            if target is not None:
                type_ = replace(target.quantization, shape=data.shape)
                data = quantized_as(data, type_)
            names.append(site.new_constant("constant", type_, data))
        elif target is None:
            names.append(site.place(site.importer.real(operand), axes))
        else:
            names.append(site.place(site.importer.requantized(operand, target.quantization), axes))
    shape = list(first.shape)
    shape[axis] = sum(operand.shape[axis] for operand in operands)
    out = tuple(shape[k] for k in axes)
    type_ = TensorType(DType.FLOAT32, out) if target is None else TensorType(
        target.quantization.dtype, out, target.quantization.quantization
    )  # fmt: skip
    made = site.make(Concatenation(axes.index(axis), Activation.NONE), names, type_)
    whole = target is None and all(is_whole(operand) for operand in operands)
    site.finish(target, replace(site.held_of(made, tuple(shape), axes), is_whole=whole))


def tile(site: Site, x: np.ndarray) -> np.ndarray:
    """Tile: the whole tensor several times along each axis."""
    repeats = site.integers("repeats", 1) or ()
    if len(repeats) != x.ndim or min(repeats, default=1) < 1:
        site.broken(f"repeats {list(repeats)}", f"{x.ndim} positive numbers")
    if x.size * math.prod(repeats) > MOST_ELEMENTS:
        site.unsupported(f"a tensor of {x.size * math.prod(repeats):,} elements")
    return np.tile(x, repeats)


def gather_elements(site: Site, x: np.ndarray) -> np.ndarray:
    """GatherElements by constant indices."""
    indices, axis = site.known(1, "indices"), site.axis(int(site.attribute("axis", 0)), x.ndim)
    fits = indices.dtype.kind in "iu" and indices.ndim == x.ndim and 0 < indices.size <= MOST_ELEMENTS
    if not fits or indices.min() < -x.shape[axis] or indices.max() >= x.shape[axis]:
        site.broken(f"indices of shape {list(indices.shape)}", f"integers within {x.shape[axis]} elements")
    grid: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    grid[axis] = indices
    return x[tuple(grid)]


def gather_nd(site: Site, x: np.ndarray) -> np.ndarray:
    """GatherND by constant indices, without batches."""
    indices = site.known(1, "indices")
    if site.attribute("batch_dims", 0):
        site.unsupported("batches")
    if indices.dtype.kind not in "iu" or not indices.ndim or not 1 <= indices.shape[-1] <= x.ndim:
        site.broken(f"indices of shape {list(indices.shape)}", "integers, a row for each result")
    return x[tuple(np.moveaxis(indices, -1, 0))]


def reverse_sequence(site: Site, x: np.ndarray) -> np.ndarray:
    """ReverseSequence with constant lengths: the first elements of each sequence, backwards."""
    lengths = site.known(1, "lengths of sequences").reshape(-1)
    time, batch = int(site.attribute("time_axis", 0)), int(site.attribute("batch_axis", 1))
    if x.ndim < 2 or {time, batch} != {0, 1} or lengths.size != x.shape[batch]:
        site.broken(f"{lengths.size} lengths for shape {list(x.shape)}", "one for each sequence")
    result = x.copy()
    rows = np.moveaxis(result, (batch, time), (0, 1))  # a view
    for position, length in enumerate(lengths.tolist()):
        if not 0 <= length <= x.shape[time]:
            site.broken(f"a length of {length}", f"at most {x.shape[time]}")
        rows[position, :length] = rows[position, :length][::-1].copy()
    return result
