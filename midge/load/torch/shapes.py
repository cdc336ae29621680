"""Operators that move elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.torch.call import Call, Refused

_LAST = (1 << 63) - 1


def view(call: Call) -> str:
    """Whatever keeps the order of the elements."""
    name = "self" if call.is_tensor("self") else "input"
    return call.reshaped(call.tensor(name), call.result_shapes[0])


def permute(call: Call) -> str:
    rank = len(call.shape("self"))
    return call.op("Transpose", call.tensor("self"), perm=[axis % rank for axis in call["dims"]])


def transpose(call: Call) -> str:
    axes = list(range(len(call.shape("self"))))
    first, second = call.get("dim0", 0), call.get("dim1", 1)
    axes[first], axes[second] = axes[second], axes[first]
    return call.op("Transpose", call.tensor("self"), perm=axes)


def expand(call: Call) -> str:
    return call.op("Expand", call.tensor("self"), call.integers(call.result_shapes[0]))


def slice_of(call: Call) -> str:
    bounds = [call.integers([int(number)]) for number in (
        call.get("start", 0), call.get("end", _LAST), call["dim"], call["step"])]  # fmt: skip
    return call.op("Slice", call.tensor("self"), *bounds)


def slice_scatter(call: Call) -> str:
    """A part of a tensor replaced: what lies before it, the part, what lies behind it."""
    rank = len(call.shape("self"))
    axis = int(call["dim"]) % rank
    first, last, _ = slice(call.get("start", 0), call.get("end", _LAST)).indices(call.shape("self")[axis])
    if call.get("step", 1) != 1:
        raise Refused("every other element replaced")
    whole, parts = call.tensor("self"), [call.tensor("src")]
    if first > 0:
        parts.insert(0, _between(call, whole, 0, first, axis))
    if last < call.shape("self")[axis]:
        parts.append(_between(call, whole, last, _LAST, axis))
    return call.op("Concat", *parts, axis=axis)


def _between(call: Call, name: str, first: int, last: int, axis: int) -> str:
    return call.op("Slice", name, *(call.integers([number]) for number in (first, last, axis)))


def flip(call: Call) -> str:
    axes = list(call["dims"])
    bounds = [call.integers([number] * len(axes)) for number in (-1, -_LAST)]
    return call.op("Slice", call.tensor("self"), *bounds, call.integers(axes), call.integers([-1] * len(axes)))


def select(call: Call) -> str:
    index = call.records.constant(np.array(call["index"], np.int64), "index")
    return call.op("Gather", call.tensor("self"), index, axis=int(call["dim"]))


def index_select(call: Call) -> str:
    return call.op("Gather", call.tensor("self"), call.tensor("index"), axis=int(call["dim"]))


def unbind(call: Call) -> tuple[str, ...]:
    axis = int(call["dim"])
    return tuple(call.op("Gather", call.tensor("self"), call.records.constant(np.array(k, np.int64), "index"),
                         axis=axis) for k in range(call.shape("self")[axis]))  # fmt: skip


def split(call: Call) -> tuple[str, ...]:
    axis = int(call["dim"]) % len(call.shape("self"))
    sizes = [shape[axis] for shape in call.result_shapes]
    return call.records.ops("Split", (call.tensor("self"), call.integers(sizes)), len(sizes), axis=axis)


def cat(call: Call) -> str:
    return call.op("Concat", *(call.record(one) for one in call["tensors"]), axis=int(call["dim"]))


def stack(call: Call) -> str:
    axis = int(call["dim"]) % len(call.result_shapes[0])
    shape = [1 if k == axis else size for k, size in enumerate(call.result_shapes[0])]
    return call.op("Concat", *(call.reshaped(call.record(one), shape) for one in call["tensors"]), axis=axis)


def pad(call: Call) -> str:
    """Padding is listed from the last axis forwards: before, after."""
    if call.get("mode", "constant") != "constant":
        raise Refused(f"padding by {call['mode']}")
    listed, rank = list(call["pad"]), len(call.shape("self"))
    pairs = [(0, 0)] * rank
    for k in range(len(listed) // 2):
        pairs[rank - 1 - k] = (listed[2 * k], listed[2 * k + 1])
    pads = call.integers([before for before, _ in pairs] + [after for _, after in pairs])
    return call.op("Pad", call.tensor("self"), pads, call.record(float(call.get("value", 0.0))))


def pixel_shuffle(call: Call) -> str:
    return call.op("DepthToSpace", call.tensor("self"), blocksize=int(call["upscale_factor"]), mode="CRD")


def upsample_nearest(call: Call) -> str:
    """Whole factors: each element again and again, which moves elements only."""
    name = "self" if call.is_tensor("self") else "input"
    shape, wanted = call.shape(name), call.result_shapes[0]
    if any(want % have for have, want in zip(shape, wanted, strict=True)):
        raise Refused(f"from {list(shape[2:])} to {list(wanted[2:])}: no whole factor")
    wide: list[int] = [*shape[:2]]
    repeated: list[int] = [*shape[:2]]
    for have, want in zip(shape[2:], wanted[2:], strict=True):
        wide += [have, 1]
        repeated += [have, want // have]
    spread = call.op("Expand", call.reshaped(call.tensor(name), wide), call.integers(repeated))
    return call.reshaped(spread, wanted)


def upsample_linear(call: Call) -> str:
    """Between pixels, to the size of the result; a scale that leaves a part of a pixel is refused."""
    name = "self" if call.is_tensor("self") else "input"
    shape, wanted = call.shape(name), call.result_shapes[0]
    given = _scales(call, len(shape) - 2)
    aligned = bool(call.get("align_corners", False))
    for have, want, scale in zip(shape[2:], wanted[2:], given, strict=True):
        if scale is not None and not aligned and abs(have * scale - want) > 1e-6 * want:
            raise Refused(f"{have} pixels scaled by {scale}")
    mode = "align_corners" if aligned else "half_pixel"
    return call.op("Resize", call.tensor(name), "", "", call.integers(wanted), mode="linear",
                   coordinate_transformation_mode=mode)  # fmt: skip


def _scales(call: Call, rank: int) -> list[float | None]:
    """Scales given along each axis; None where the sizes say it."""
    listed = call.get("scale_factors")
    if listed is not None:
        return list(listed)
    names = ("scales",) if rank == 1 else ("scales_h", "scales_w")
    return [call.get(name) for name in names]


_VIEWS = (
    "_reshape_alias _unsafe_view flatten reshape squeeze squeeze_copy unflatten unsqueeze unsqueeze_copy view view_copy"
)

ROWS: dict[str, Callable[[Call], Any]] = {
    **{f"aten.{name}": view for name in _VIEWS.split()},
    "aten.cat": cat,
    "aten.chunk": split,
    "aten.constant_pad_nd": pad,
    "aten.expand": expand,
    "aten.flip": flip,
    "aten.index_select": index_select,
    "aten.pad": pad,
    "aten.permute": permute,
    "aten.permute_copy": permute,
    "aten.pixel_shuffle": pixel_shuffle,
    "aten.select": select,
    "aten.slice": slice_of,
    "aten.slice_scatter": slice_scatter,
    "aten.split": split,
    "aten.split_with_sizes": split,
    "aten.stack": stack,
    "aten.t": transpose,
    "aten.transpose": transpose,
    "aten.unbind": unbind,
    "aten.upsample_bilinear2d": upsample_linear,
    "aten.upsample_linear1d": upsample_linear,
    "aten.upsample_nearest1d": upsample_nearest,
    "aten.upsample_nearest2d": upsample_nearest,
}
