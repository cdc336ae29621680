"""Batches of every n-th pixel: round a convolution they are how TensorFlow writes a dilated one, which they become.

    SPACE_TO_BATCH_ND (block 2, pads 2) - CONV_2D 3x3 - BATCH_TO_SPACE_ND      →      CONV_2D 3x3, dilation 2, padding 2

Exact: each result is the same sum, and pads hold the zero point. Standing alone they are pads, reorders and slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from midge.ir.types import TensorType
from midge.load.tflite.file import RawModel, RawOperator
from midge.load.tflite.movement import emit_moved, positions_of
from midge.load.tflite.site import Site
from midge.ops.base import Padding
from midge.ops.conv2d import Conv2D
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.pad import Pad
from midge.ops.rearrange import rearrangement

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_MOST_ELEMENTS = 1 << 22
Convolution = TypeVar("Convolution", Conv2D, Conv2DHybrid, DepthwiseConv2D)


def fold_batches(raw: RawModel) -> RawModel:
    """The model with each convolution between the two operators in their place.

    What they say of blocks, pads and cuts may be worked out by operators before them, so it is read where the
    convolution is imported, in the place of the last one.
    """
    readers: dict[int, list[RawOperator]] = {}
    for operator in raw.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    changed: dict[int, RawOperator | None] = {}
    for operator in raw.operators:
        found = _folded(raw, operator, readers) if operator.code == "SPACE_TO_BATCH_ND" else None
        if found is not None:
            convolution, last = found
            changed |= {operator.index: None, convolution.index: None, last.index: convolution}
    kept = (changed.get(operator.index, operator) for operator in raw.operators)
    return replace(raw, operators=tuple(operator for operator in kept if operator is not None)) if changed else raw


def _folded(raw: RawModel, first: RawOperator, readers: dict[int, list[RawOperator]]
            ) -> tuple[RawOperator, RawOperator] | None:  # fmt: skip
    """The convolution that takes the place of three operators, and the last of them; None where they are not so."""
    middle = _only_reader(raw, first, readers)
    last = _only_reader(raw, middle, readers) if middle is not None and middle.code in _CONVOLUTIONS else None
    if middle is None or last is None or last.code != "BATCH_TO_SPACE_ND" or middle.inputs[0] != first.outputs[0]:
        return None
    if len(first.inputs) != 3 or len(last.inputs) != 3 or last.inputs[0] != middle.outputs[0]:
        return None
    if -1 in (*first.inputs, *last.inputs) or len(raw.tensors[first.inputs[0]].shape) != 4:
        return None
    own = (first.inputs[0], *middle.inputs[1:3], *(-1,) * (3 - len(middle.inputs)))
    inputs = (*own, *first.inputs[1:], *last.inputs[1:])
    return replace(middle, inputs=inputs, outputs=last.outputs, is_spread=True), last


def _only_reader(raw: RawModel, operator: RawOperator, readers: dict[int, list[RawOperator]]) -> RawOperator | None:
    """The one operator that reads an operator's one result, which is no output."""
    if len(operator.outputs) != 1 or operator.outputs[0] in raw.outputs:
        return None
    found = readers.get(operator.outputs[0], [])
    return found[0] if len(found) == 1 else None


def spread(site: Site, op: Convolution) -> Convolution:
    """The convolution with the dilation and padding of the batches that stood round it."""
    if not site.operator.is_spread:
        return op
    block, pads = _block(site, 4, 3)
    again, cuts = _block(site, 4, 5)
    if again != block or len(block) != 2:
        site.unsupported(f"batches of blocks {list(block)}, put together by blocks {list(again)}")
    down, right = block
    if (op.stride_h, op.stride_w) != (1, 1):
        site.unsupported("strides between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND")
    (top, bottom), (left, right_side) = (
        (before - first, after - last) for (before, after), (first, last) in zip(pads, cuts, strict=True)
    )
    own = op.padding
    padding = Padding(own.top * down + top, own.bottom * down + bottom, own.left * right + left,
                      own.right * right + right_side)  # fmt: skip
    if min(padding.top, padding.bottom, padding.left, padding.right) < 0:
        site.unsupported("a BATCH_TO_SPACE_ND that cuts more than was padded")
    return replace(op, dilation_h=op.dilation_h * down, dilation_w=op.dilation_w * right, padding=padding)


def space_to_batch(site: Site) -> None:
    """SPACE_TO_BATCH_ND that stands alone: pads, then every n-th element along each axis to batches of its own."""
    x = site.type(0)
    block, pairs = _block(site, len(x.shape))
    paddings = ((0, 0), *pairs, *((0, 0),) * (len(x.shape) - 1 - len(pairs)))
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, paddings, strict=True))
    if math.prod(shape) > _MOST_ELEMENTS or any(size % step for size, step in zip(shape[1:], block, strict=False)):
        site.broken(f"blocks {list(block)} of shape {list(shape)}", "blocks that divide it")
    order = _to_batches(np.arange(math.prod(shape), dtype=np.int64).reshape(shape), block)
    if not any(map(any, paddings)):
        emit_moved(site, order)
        return
    site.require_dtypes(site.required(0), site.result())
    values = site.constant(0)
    if values is not None:
        site.fold(np.pad(values, paddings, constant_values=x.zero_point).reshape(-1)[order])
        return
    chain = site.chain()
    padded = chain.add(Pad(paddings), [chain.operand], TensorType(x.dtype, shape, x.quantization))
    op = rearrangement(order)
    if op is None:
        site.unsupported(f"batches of shape {list(order.shape)}")
    chain.finish(op, [padded], order.shape)


def batch_to_space(site: Site) -> None:
    """BATCH_TO_SPACE_ND that stands alone: back, and cut."""
    x = positions_of(site)
    block, pairs = _block(site, x.ndim)
    if x.shape[0] % math.prod(block):
        site.broken(f"blocks {list(block)} from a batch of {x.shape[0]}", "a batch for each element of a block")
    found = _to_space(x, block)
    bounds = []
    for size, (before, after) in zip(found.shape[1:], pairs, strict=False):
        if before + after >= size:
            site.broken(f"{before} and {after} cut of {size}", "fewer")
        bounds.append(slice(before, size - after))
    emit_moved(site, found[(slice(None), *bounds)])


def _block(site: Site, rank: int, position: int = 1) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The block's size and the pads or cuts along each axis behind the first: an operand and the next."""
    block, pairs = site.known(position, "a block").reshape(-1), site.known(position + 1, "pads")
    if {block.dtype.kind, pairs.dtype.kind} != {"i"} or pairs.shape != (block.size, 2) or not 1 <= block.size < rank:
        site.broken(f"blocks of shape {list(block.shape)}, pads of shape {list(pairs.shape)}", "a pair for each axis")
    if block.min() < 1 or max(block.max(), pairs.max()) > 1 << 16 or pairs.min() < 0:
        site.broken(f"blocks {block.tolist()}, pads {pairs.tolist()}", "small numbers")
    return tuple(block.tolist()), tuple((int(before), int(after)) for before, after in pairs)


def _to_batches(x: np.ndarray, block: tuple[int, ...]) -> np.ndarray:
    count = len(block)
    split = [part for size, step in zip(x.shape[1:], block, strict=False) for part in (size // step, step)]
    parts = x.reshape(x.shape[0], *split, *x.shape[1 + count :])
    steps, counts = range(2, 2 * count + 1, 2), range(1, 2 * count, 2)
    moved = parts.transpose(*steps, 0, *counts, *range(2 * count + 1, parts.ndim))
    sizes = [size // step for size, step in zip(x.shape[1:], block, strict=False)]
    return moved.reshape(x.shape[0] * math.prod(block), *sizes, *x.shape[1 + count :])


def _to_space(x: np.ndarray, block: tuple[int, ...]) -> np.ndarray:
    count, batches = len(block), x.shape[0] // math.prod(block)
    parts = x.reshape(*block, batches, *x.shape[1:])
    between = [axis for k in range(count) for axis in (count + 1 + k, k)]
    moved = parts.transpose(count, *between, *range(2 * count + 1, parts.ndim))
    sizes = [size * step for size, step in zip(x.shape[1:], block, strict=False)]
    return moved.reshape(batches, *sizes, *x.shape[1 + count :])


ROWS: dict[str, Callable[[Site], None]] = {
    "BATCH_TO_SPACE_ND": batch_to_space,
    "SPACE_TO_BATCH_ND": space_to_batch,
}
