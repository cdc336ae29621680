"""Operators that only move elements: each is an array of positions in its operand, made into one node."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.tflite import lookup
from midge.load.tflite.shapes import axes_of, axis_of
from midge.load.tflite.site import Site
from midge.ops.base import Activation
from midge.ops.concatenation import Concatenation
from midge.ops.rearrange import rearrangement
from midge.ops.reshape import Reshape
from midge.ops.take import Take

_MOST_ELEMENTS = 1 << 24
_MOST_PARTS = 256


def positions_of(site: Site, position: int = 0) -> np.ndarray:
    """int64, of an operand's shape: the number of each of its elements."""
    shape = site.type(position).shape
    if math.prod(shape) > _MOST_ELEMENTS:
        site.unsupported(f"a tensor of shape {list(shape)}")
    return np.arange(math.prod(shape), dtype=np.int64).reshape(shape)


def emit_moved(site: Site, positions: np.ndarray, result: int | None = None) -> None:
    """Make a result that holds operand 0's elements at these positions."""
    if positions.size == 0:
        site.broken("a result without elements", "at least one")
    if positions.size > _MOST_ELEMENTS:
        site.unsupported(f"a result of shape {list(positions.shape)}")
    result = site.result() if result is None else result
    values = site.constant(0)
    if values is not None:
        site.importer.fold(result, values.reshape(-1)[positions])
        return
    x, y = site.type(0), site.importer.type(result)
    if (x.dtype, x.quantization) != (y.dtype, y.quantization):
        site.broken("a result of another type or quantisation", "the input's")
    shape = positions.shape
    if positions.size == x.elements and np.array_equal(positions.reshape(-1), np.arange(positions.size)):
        site.emit(Reshape(shape), [site.required(0)], shape, result)
        return
    op = rearrangement(positions)
    if op is not None:
        site.emit(op, [site.required(0)], shape, result)
        return
    table = TensorType(DType.INT32, shape)
    site.emit_with(Take(), site.required(0), table, positions.astype(np.int32), shape, result)


def moved(move: Callable[[Site, np.ndarray], np.ndarray]) -> Callable[[Site], None]:
    """A row that does to the positions what the operator does to the elements."""
    return lambda site: emit_moved(site, move(site, positions_of(site)))


def transpose(site: Site, x: np.ndarray) -> np.ndarray:
    order = site.known(1, "axes").reshape(-1).tolist()
    if sorted(axis % max(x.ndim, 1) for axis in order) != list(range(x.ndim)):
        site.broken(f"the order {order} for rank {x.ndim}", "each axis once")
    return x.transpose(order)


def slice_of(site: Site, x: np.ndarray) -> np.ndarray:
    begin, size = (site.known(position, "bounds").reshape(-1).tolist() for position in (1, 2))
    if not len(begin) == len(size) == x.ndim:
        site.broken(f"{len(begin)} bounds for rank {x.ndim}", "one for each axis")
    bounds = []
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        count = x.shape[axis] - first if count == -1 else count
        if first < 0 or count < 1 or first + count > x.shape[axis]:
            site.broken(f"{count} from {first} of {x.shape[axis]}", "elements of the input")
        bounds.append(slice(first, first + count))
    return x[tuple(bounds)]


def strided_slice(site: Site, x: np.ndarray) -> np.ndarray:
    begin, end, strides = (site.known(position, "bounds").reshape(-1) for position in (1, 2, 3))
    masks = site.options("StridedSliceOptions", "BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask")
    begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = masks
    if not len(begin) == len(end) == len(strides) or not strides.all():
        site.broken(f"{len(begin)} begins, {len(end)} ends, {len(strides)} strides", "as many of each, none of them 0")
    index: list[int | slice | None] = []
    axis = 0
    named = sum(not (new_axis_mask | ellipsis_mask) >> entry & 1 for entry in range(len(begin)))
    for entry, (first, last, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        bit = 1 << entry
        if ellipsis_mask & bit:
            skipped = x.ndim - named
            if skipped < 0 or ellipsis_mask & (bit - 1):
                site.broken(
                    f"{named} bounds and several gaps for rank {x.ndim}", "one gap, and no more bounds than axes"
                )
            index += [slice(None)] * skipped
            axis += skipped
            continue
        if new_axis_mask & bit:
            index.append(None)
            continue
        if axis >= x.ndim:
            site.broken(f"{len(begin)} bounds for rank {x.ndim}", "no more than axes")
        if shrink_mask & bit:
            index.append(axis_of(site, 0 if begin_mask & bit else first, x.shape[axis]))
        else:
            index.append(slice(None if begin_mask & bit else first, None if end_mask & bit else last, step))
        axis += 1
    return x[tuple(index)]


def gather(site: Site) -> None:
    """GATHER along one axis; constant indices only move elements."""
    axis, batch = site.options("GatherOptions", "Axis", "BatchDims")
    axis = axis_of(site, axis, len(site.type(0).shape))
    if batch:
        site.unsupported("batched indices")
    indices = site.constant(1)
    if indices is None:
        lookup.gathered(site, 0, 1, axis)
        return
    x = positions_of(site)
    _check_indices(site, indices, x.shape[axis])
    if indices.size * (x.size // x.shape[axis]) > _MOST_ELEMENTS:
        site.unsupported("so many indices")
    emit_moved(site, np.take(x, indices, axis=axis))


def reverse_sequence(site: Site, x: np.ndarray) -> np.ndarray:
    """REVERSE_SEQUENCE with constant lengths: the first elements of each sequence, backwards."""
    lengths = site.known(1, "lengths").reshape(-1)
    along, batch = (
        axis_of(site, axis, x.ndim) for axis in site.options("ReverseSequenceOptions", "SeqDim", "BatchDim")
    )
    fits = lengths.dtype.kind == "i" and lengths.size == x.shape[batch] and lengths.min(initial=0) >= 0
    if along == batch or not fits or lengths.max(initial=0) > x.shape[along]:
        site.broken(
            f"lengths {lengths.tolist()} along axis {along}", f"one of up to {x.shape[along]} for each sequence"
        )
    place, sequence = np.arange(x.shape[along])[None, :], lengths[:, None]
    source = np.where(place < sequence, sequence - 1 - place, place)
    found = np.take_along_axis(
        np.moveaxis(x, (batch, along), (0, 1)), source.reshape(*source.shape, *[1] * (x.ndim - 2)), axis=1
    )
    return np.moveaxis(found, (0, 1), (batch, along))


def gather_nd(site: Site) -> None:
    """GATHER_ND by constant indices; those that come at run time choose among the parts of the tensor."""
    indices = site.constant(1)
    if indices is None:
        lookup.gathered_by_tuples(site)
        return
    x = positions_of(site)
    if indices.ndim < 1 or indices.shape[-1] > x.ndim:
        site.broken(f"indices of shape {list(indices.shape)}", f"up to {x.ndim} numbers each")
    for axis in range(indices.shape[-1]):
        _check_indices(site, indices[..., axis], x.shape[axis])
    emit_moved(site, x[tuple(np.moveaxis(indices, -1, 0))])


def _check_indices(site: Site, indices: np.ndarray, size: int) -> None:
    if indices.dtype.kind not in "iu" or indices.size == 0:
        site.broken(f"{indices.size} indices of type {indices.dtype}", "integers")
    if indices.min() < 0 or indices.max() >= size:
        site.broken(f"indices {indices.min()} to {indices.max()}", f"0 to {size - 1}")


def space_to_depth(site: Site, x: np.ndarray) -> np.ndarray:
    (size,) = site.options("SpaceToDepthOptions", "BlockSize")
    if x.ndim != 4 or size < 1 or x.shape[1] % size or x.shape[2] % size:
        site.broken(f"blocks of {size} in shape {list(x.shape)}", "blocks that divide height and width")
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // size, w // size, size * size * c)


def depth_to_space(site: Site, x: np.ndarray) -> np.ndarray:
    (size,) = site.options("DepthToSpaceOptions", "BlockSize")
    if x.ndim != 4 or size < 1 or x.shape[3] % (size * size):
        site.broken(f"blocks of {size} from shape {list(x.shape)}", "channels for whole blocks")
    n, h, w, c = x.shape
    blocks = x.reshape(n, h, w, size, size, c // (size * size)).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h * size, w * size, c // (size * size))


def tile(site: Site, x: np.ndarray) -> np.ndarray:
    times = site.known(1, "multiples").reshape(-1)
    if len(times) != x.ndim or times.min(initial=1) < 1 or x.size * math.prod(times.tolist()) > _MOST_ELEMENTS:
        site.broken(f"multiples {times.tolist()} of shape {list(x.shape)}", "a small positive one for each axis")
    return np.tile(x, times)


def broadcast_to(site: Site, x: np.ndarray) -> np.ndarray:
    shape = tuple(site.known(1, "a shape").reshape(-1).tolist())
    if min(shape, default=1) < 1 or math.prod(shape) > _MOST_ELEMENTS or len(shape) < x.ndim:
        site.broken(f"the shape {list(shape)}", "positive sizes")
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        site.broken(f"the shape {list(shape)} for {list(x.shape)}", "shapes that broadcast")


def mirror_pad(site: Site, x: np.ndarray) -> np.ndarray:
    pairs = site.known(1, "paddings")
    (mode,) = site.options("MirrorPadOptions", "Mode")
    most = [size - (1 if mode == 0 else 0) for size in x.shape]
    if pairs.shape != (x.ndim, 2) or pairs.min(initial=0) < 0:
        site.broken(f"paddings {pairs.tolist()}", "a pair for each axis")
    if any(max(pair) > limit for pair, limit in zip(pairs.tolist(), most, strict=True)):
        site.broken(f"paddings {pairs.tolist()} of shape {list(x.shape)}", "no more than there is to mirror")
    return np.pad(x, pairs, mode="reflect" if mode == 0 else "symmetric")


def reverse(site: Site, x: np.ndarray) -> np.ndarray:
    return np.flip(x, axes_of(site, 1, x.ndim))


def resize_nearest(site: Site, x: np.ndarray) -> np.ndarray:
    """The reference's choice of pixels: float32 scales, `align_corners`, `half_pixel_centers`."""
    sizes = site.known(1, "a size").reshape(-1).tolist()
    align, half = site.options("ResizeNearestNeighborOptions", "AlignCorners", "HalfPixelCenters")
    if x.ndim != 4 or len(sizes) != 2 or min(sizes) < 1 or max(sizes) > 1 << 12:
        site.broken(f"the size {sizes} for shape {list(x.shape)}", "[height, width] of an image")
    for axis, size in zip((1, 2), sizes, strict=True):
        before = x.shape[axis]
        scale = np.float32((before - 1) / np.float32(size - 1) if align and size > 1 else before / np.float32(size))
        offset = np.float32(0.5) if half else np.float32(0)
        at = (np.arange(size).astype(np.float32) + offset) * scale
        chosen = np.floor(at + np.float32(0.5)) if align else np.floor(at)
        x = np.take(x, np.clip(chosen.astype(np.int64), 0, before - 1), axis=axis)
    return x


def split(site: Site) -> None:
    """SPLIT into equal parts; the axis is operand 0, the tensor operand 1."""
    (count,) = site.options("SplitOptions", "NumSplits")
    size = site.type(1).shape
    axis = axis_of(site, int(site.known(0, "an axis").reshape(-1)[0]), len(size))
    if count < 1 or size[axis] % count:
        site.broken(f"{count} parts of {size[axis]}", "parts of equal size")
    _emit_parts(site, 1, axis, [size[axis] // count] * count)


def split_v(site: Site) -> None:
    """SPLIT_V: sizes are operand 1, the axis operand 2."""
    shape = site.type(0).shape
    axis = axis_of(site, int(site.known(2, "an axis").reshape(-1)[0]), len(shape))
    sizes = site.known(1, "sizes").reshape(-1).tolist()
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    if min(sizes, default=0) < 1 or sum(sizes) != shape[axis]:
        site.broken(f"parts {sizes} of {shape[axis]}", "positive parts that make up the whole")
    _emit_parts(site, 0, axis, sizes)


def _emit_parts(site: Site, operand: int, axis: int, sizes: Sequence[int]) -> None:
    outputs = site.operator.outputs
    if len(outputs) != len(sizes) or len(sizes) > _MOST_PARTS:
        site.broken(f"{len(outputs)} results for {len(sizes)} parts", "one for each")
    inner = site.with_operands([site.required(operand)])
    parts = np.split(positions_of(inner), np.cumsum(sizes)[:-1], axis)
    for part, result in zip(parts, outputs, strict=True):
        emit_moved(inner, part, result)


def unpack(site: Site) -> None:
    """UNPACK along an axis."""
    axis, count = site.options("UnpackOptions", "Axis", "Num")
    x = positions_of(site)
    axis = axis_of(site, axis, x.ndim)
    outputs = site.operator.outputs
    if x.shape[axis] != count or len(outputs) != count or count > _MOST_PARTS:
        site.broken(f"{count} parts of {x.shape[axis]}, {len(outputs)} results", "one for each index")
    for index, result in enumerate(outputs):
        emit_moved(site, np.take(x, index, axis=axis), result)


def pack(site: Site) -> None:
    """PACK: operands side by side along a new axis; constants are folded."""
    axis, count = site.options("PackOptions", "Axis", "ValuesCount")
    operands = [site.required(position) for position in range(len(site.operator.inputs))]
    types = [site.importer.type(index) for index in operands]
    if len(operands) != count or not operands or len({type_.shape for type_ in types}) != 1:
        site.broken(f"{len(operands)} values of different shapes", f"{count} of one shape")
    axis = axis_of(site, axis, len(types[0].shape) + 1)
    arrays = [site.importer.constant(index) for index in operands]
    known = [array for array in arrays if array is not None]
    if len(known) == len(operands):
        site.fold(np.stack(known, axis))
        return
    if any((type_.dtype, type_.quantization) != (types[0].dtype, types[0].quantization) for type_ in types):
        site.unsupported("operands with different scales")
    shape = (*types[0].shape[:axis], 1, *types[0].shape[axis:])
    wide = [site.importer.reshaped(index, shape) for index in operands]
    site.emit_named(Concatenation(axis, Activation.NONE), wide, (*shape[:axis], count, *shape[axis + 1 :]))


ROWS: dict[str, Callable[[Site], None]] = {
    **lookup.ROWS,
    "BROADCAST_TO": moved(broadcast_to),
    "DEPTH_TO_SPACE": moved(depth_to_space),
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "MIRROR_PAD": moved(mirror_pad),
    "PACK": pack,
    "RESIZE_NEAREST_NEIGHBOR": moved(resize_nearest),
    "REVERSE_SEQUENCE": moved(reverse_sequence),
    "REVERSE_V2": moved(reverse),
    "SLICE": moved(slice_of),
    "SPACE_TO_DEPTH": moved(space_to_depth),
    "SPLIT": split,
    "SPLIT_V": split_v,
    "STRIDED_SLICE": moved(strided_slice),
    "TILE": moved(tile),
    "TRANSPOSE": moved(transpose),
    "UNPACK": unpack,
}
