"""Operators that change shapes only, and those that compute shapes: the latter are folded at import."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from midge.load.tflite.site import Site
from midge.ops.rearrange import Rearrange
from midge.ops.reshape import Reshape

_MAX_FOLDED_VALUES = 1 << 22


def axis_of(site: Site, axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        site.broken(f"axis {axis}", f"{-rank} to {rank - 1}")
    return axis % rank


def axes_of(site: Site, position: int, rank: int) -> tuple[int, ...]:
    """The axes of a constant operand, ascending, each once."""
    array = site.known(position, "axes")
    if array.dtype.kind != "i" or array.size == 0 or array.size > 64:
        site.broken(f"{array.size} axes of type {array.dtype}", "a few integers")
    return tuple(sorted({axis_of(site, int(axis), rank) for axis in array.reshape(-1)}))


def reshape(site: Site) -> None:
    """RESHAPE: the shape from the operand, the options or the result's type; -1 is worked out."""
    x = site.type(0)
    wanted = site.constant(1)
    if wanted is not None and wanted.dtype.kind == "i" and wanted.ndim <= 1 and wanted.size <= 8:
        target = tuple(int(size) for size in wanted.reshape(-1))
    elif site.operand(1) is not None and site.constant(1) is None and site.importer.raw.tensors[site.result()].dynamic:
        site.unsupported("a shape computed at run time")
    else:
        target = site.operator.options_vector(site.where, "ReshapeOptions", "NewShape") or ()
        if site.operand(1) is not None or not target:
            target = site.importer.raw.tensors[site.result()].shape
    _emit_reshape(site, _resolved(site, target, x.elements))


def _resolved(site: Site, target: tuple[int, ...], elements: int) -> tuple[int, ...]:
    """The shape with its -1 worked out."""
    known = math.prod(size for size in target if size != -1)
    if target.count(-1) > 1 or any(size < -1 or size == 0 for size in target):
        site.broken(f"the new shape {list(target)}", "positive dimensions, one -1 at most")
    if -1 in target and known and elements % known == 0:
        target = tuple(elements // known if size == -1 else size for size in target)
    if math.prod(target) != elements:
        site.broken(f"the new shape {list(target)}", f"{elements} elements, as the input has")
    return target


def _emit_reshape(site: Site, shape: tuple[int, ...]) -> None:
    x, y = site.type(0), site.result_type()
    if (x.dtype, x.quantization) != (y.dtype, y.quantization):
        site.broken("a result of another type or quantisation", "the input's")
    site.emit(Reshape(shape), [site.required(0)], shape)


def squeeze(site: Site) -> None:
    """SQUEEZE of the named axes, or of all of size 1."""
    x = site.type(0)
    named = site.operator.options_vector(site.where, "SqueezeOptions", "SqueezeDims") or ()
    axes = {axis_of(site, axis, len(x.shape)) for axis in named}
    if any(x.shape[axis] != 1 for axis in axes):
        site.broken(f"axes {sorted(axes)} of shape {list(x.shape)}", "axes of size 1")
    drop = axes or {axis for axis, size in enumerate(x.shape) if size == 1}
    _emit_reshape(site, tuple(size for axis, size in enumerate(x.shape) if axis not in drop))


def expand_dims(site: Site) -> None:
    """EXPAND_DIMS by one constant axis."""
    x = site.type(0)
    (axis,) = axes_of(site, 1, len(x.shape) + 1)[:1]
    _emit_reshape(site, (*x.shape[:axis], 1, *x.shape[axis:]))


def shape(site: Site) -> None:
    """SHAPE: known at import."""
    site.fold(np.array(site.type(0).shape, site.result_type().dtype.numpy))


def fold_integers(site: Site, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> bool:
    """Fold arithmetic on integer constants without quantisation (sizes); False where it is something else."""
    a, b = site.constant(0), site.constant(1)
    if a is None or b is None or a.dtype != b.dtype or a.dtype not in (np.int32, np.int64):
        return False
    try:
        size = math.prod(np.broadcast_shapes(a.shape, b.shape))
    except ValueError:
        site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "operands that broadcast")
    if size > _MAX_FOLDED_VALUES:
        site.unsupported("a large computation on constants")
    site.fold(compute(a, b).astype(a.dtype))
    return True


def fill(site: Site) -> None:
    """FILL of a constant shape with one value, constant or not."""
    shape = _shape_of(site, 0)
    if site.type(1).elements != 1:
        site.broken(f"a value of shape {list(site.type(1).shape)}", "one number")
    value = site.constant(1)
    if value is not None:
        site.fold(np.full(shape, value.reshape(-1)[0], value.dtype))
        return
    if len(shape) == 0:
        _emit_reshape(site.with_operands([site.required(1)]), shape)
        return
    op = Rearrange(shape, 0, (math.prod(shape),), (0,))
    site.emit(op, [site.required(1)], shape)


def zeros_like(site: Site) -> None:
    """ZEROS_LIKE: known at import."""
    type_ = site.type(0)
    site.fold(np.full(type_.shape, type_.zero_point, type_.dtype.numpy))


def broadcast_args(site: Site) -> None:
    """BROADCAST_ARGS of constant shapes."""
    first, second = _shape_of(site, 0), _shape_of(site, 1)
    try:
        shape = np.broadcast_shapes(first, second)
    except ValueError:
        site.broken(f"shapes {list(first)} and {list(second)}", "shapes that broadcast")
    site.fold(np.array(shape, site.result_type().dtype.numpy))


def _shape_of(site: Site, position: int) -> tuple[int, ...]:
    """The shape that a constant operand says."""
    sizes = site.known(position, "a shape")
    if sizes.dtype.kind != "i" or sizes.ndim != 1 or sizes.size > 8 or sizes.min(initial=1) < 1:
        site.broken(f"a shape of {sizes.size} numbers", "up to 8 positive integers")
    shape = tuple(int(size) for size in sizes)
    if math.prod(shape) > _MAX_FOLDED_VALUES:
        site.unsupported(f"a tensor of shape {list(shape)}")
    return shape


ROWS: dict[str, Callable[[Site], None]] = {
    "BROADCAST_ARGS": broadcast_args,
    "EXPAND_DIMS": expand_dims,
    "FILL": fill,
    "RESHAPE": reshape,
    "SHAPE": shape,
    "SQUEEZE": squeeze,
    "ZEROS_LIKE": zeros_like,
}
