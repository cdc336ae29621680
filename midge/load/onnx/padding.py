"""Pad: with zeros, other numbers, or values of the tensor itself."""

from __future__ import annotations

from typing import Literal

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.onnx.held import MOST_ELEMENTS, Held
from midge.load.onnx.site import Site
from midge.ops.base import Activation
from midge.ops.concatenation import Concatenation
from midge.ops.pad import Pad

_MODES: tuple[Literal["reflect", "edge", "wrap"], ...] = ("reflect", "edge", "wrap")
"""Modes that take values of the tensor; NumPy calls them so too."""
Pairs = list[tuple[int, int]]


def pad(site: Site) -> None:
    """Pad; negative pads cut off."""
    x = site.held(0)
    pairs = _pairs(site, len(x.shape))
    crop = tuple(slice(max(-before, 0), size - max(-after, 0))
                 for size, (before, after) in zip(x.shape, pairs, strict=True))  # fmt: skip
    x = x.rearranged(x.order[crop])
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if x.order.size == 0:
        site.broken("pads that leave nothing", "at least one element")
    if np.prod([size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True)], dtype=float) > MOST_ELEMENTS:
        site.unsupported("so much padding")
    mode = site.attribute("mode", "constant")
    if not any(map(any, pairs)):
        site.bind(x)
    elif mode in _MODES:
        site.bind(x.rearranged(np.pad(x.order, pairs, _MODES[_MODES.index(mode)])))
    elif mode == "constant":
        site.bind(_filled(site, x, pairs, _value(site)))
    else:
        site.broken(f"the mode {mode!r}", f"constant, {', '.join(_MODES)}")


def _pairs(site: Site, rank: int) -> Pairs:
    """(before, after) of each axis."""
    pads = site.integers("pads", 1) or ()
    axes = tuple(site.axis(axis, rank) for axis in site.integers("axes", 3) or range(rank))
    if len(pads) != 2 * len(axes) or max(pads, default=0) > 1 << 20:
        site.broken(f"pads {list(pads)}", f"{2 * len(axes)} numbers")
    pairs = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        pairs[axis] = (pads[position], pads[position + len(axes)])
    return pairs


def _value(site: Site) -> float:
    return site.number(2, "the padding value") if site.has(2) else float(site.attribute("value", 0.0))


def _filled(site: Site, x: Held, pairs: Pairs, value: float) -> Held:
    """Padding by a number: the pad operator where it is the zero point, else constants in front and behind."""
    is_plain = x.is_real or x.type.quantization is None
    if x.type.dtype is DType.BOOL or (x.type.quantization is None and value):
        x = site.importer.real(x)
    if value == (0.0 if is_plain else x.zero_point):
        return _zeros(site, x, pairs)
    x = site.importer.real(x)
    axes = x.axes or tuple(range(len(x.shape)))
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            x = _between(site, x, axes, axis, (before, after), value)
    return x


def _zeros(site: Site, x: Held, pairs: Pairs) -> Held:
    lying = x.axes or tuple(range(len(x.shape)))
    operand = site.place(x, lying)
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True))
    type_ = TensorType(x.type.dtype, tuple(shape[axis] for axis in lying), x.type.quantization)
    made = site.make(Pad(tuple(pairs[axis] for axis in lying)), [operand], type_)
    held = site.held_of(made, shape, lying)
    return Held(held.value, held.type, held.order, x.is_real, x.is_whole, x.is_unsigned)


def _between(site: Site, x: Held, axes: tuple[int, ...], axis: int, counts: tuple[int, int], value: float) -> Held:
    """Constants in front of x and behind it, along one axis."""
    names = [site.place(x, axes)]
    for position, count in enumerate(counts):
        if count:
            shape = tuple(count if k == axis else x.shape[k] for k in axes)
            fill = site.new_constant("fill", TensorType(DType.FLOAT32, shape), np.full(shape, value, np.float32))
            names.insert(0 if position == 0 else len(names), fill)
    shape = tuple(size + sum(counts) if k == axis else size for k, size in enumerate(x.shape))
    type_ = TensorType(DType.FLOAT32, tuple(shape[k] for k in axes))
    made = site.make(Concatenation(axes.index(axis), Activation.NONE), names, type_)
    held = site.held_of(made, shape, axes)
    return Held(held.value, held.type, held.order, is_whole=x.is_whole)
