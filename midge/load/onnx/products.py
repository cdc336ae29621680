"""Products of tensors: MatMul of all forms, QLinearMatMul, and Einsum of two operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.onnx import quantized, weighted
from midge.load.onnx.elementwise import Operand, is_quantized, is_whole
from midge.load.onnx.held import Held, Known
from midge.load.onnx.scales import as_signed, type_of_scale
from midge.load.onnx.site import Site, Target
from midge.ops.batch_matmul import BatchMatmul


def matmul(site: Site) -> None:
    """MatMul; a third operand is a bias (`rewrite`). A fully connected layer where the right matrix is a constant."""
    a, b = site.operand(0), site.operand(1)
    if isinstance(a, Held) and isinstance(b, Known) and _is_matrix(b):
        weighted.matmul(site)
        return
    target = site.target(fuses=False) if is_quantized(a) and is_quantized(b) else None
    site.finish(target, product(site, a, b, target))


def q_matmul(site: Site) -> None:
    """QLinearMatMul: a and b with scale and zero point each, those of the result."""
    weights = site.operand(3)
    if isinstance(weights, Known) and _is_matrix(weights) and isinstance(site.operand(0), Held):
        quantized.q_matmul(site)
        return
    a, b = (quantized.operand_of(site, position) for position in (0, 3))
    target = quantized.target_of(site, 6, 7)
    site.finish(target, product(site, a, b, target))


def _is_matrix(b: Known) -> bool:
    return len(b.shape) >= 2 and all(size == 1 for size in b.shape[:-2])


def product(site: Site, a: Operand, b: Operand, target: Target | None) -> Held:
    """a times b, as NumPy's matmul has it: vectors are rows on the left and columns on the right."""
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a, b = _wide(a, (1, *a.shape)) if row else a, _wide(b, (*b.shape, 1)) if column else b
    if min(len(a.shape), len(b.shape)) < 2 or a.shape[-1] != b.shape[-2]:
        site.broken(f"operands of shape {list(a.shape)} and {list(b.shape)}", "matrices that can be multiplied")
    try:
        outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        site.broken(f"operands of shape {list(a.shape)} and {list(b.shape)}", "batches that broadcast")
    shape = (*outer, a.shape[-2], b.shape[-1])
    (left, flips_a), (right, flips_b) = (_value(site, x, is_integer=target is not None) for x in (a, b))
    type_ = TensorType(DType.FLOAT32, shape) if target is None else replace(target.quantization, shape=shape)
    made = site.make(BatchMatmul(flips_a, flips_b), [left, right], type_)
    held = site.held_of(made, shape, tuple(range(len(shape))))
    whole = target is None and is_whole(a) and is_whole(b)
    kept = [size for k, size in enumerate(shape) if not ((row and k == len(shape) - 2) or
                                                         (column and k == len(shape) - 1))]  # fmt: skip
    return replace(held.rearranged(held.order.reshape(kept)), is_whole=whole)


def _wide(operand: Operand, shape: tuple[int, ...]) -> Operand:
    if isinstance(operand, Known):
        return operand.moved(operand.array.reshape(shape),
                             None if operand.quantized is None else operand.quantized.reshape(shape))  # fmt: skip
    return operand.rearranged(operand.order.reshape(shape))


def _value(site: Site, x: Operand, *, is_integer: bool) -> tuple[str, bool]:
    """An operand as a value, and whether its matrices lie transposed there."""
    rank = len(x.shape)
    if isinstance(x, Known):
        type_ = _constant_type(x) if is_integer else TensorType(DType.FLOAT32, x.shape)
        data = as_signed(x.quantized) if is_integer and x.quantized is not None else x.array.astype(np.float32)
        return site.new_constant("matrix", type_, np.ascontiguousarray(data)), False
    held = x if is_integer else site.importer.real(x)
    flipped = (*range(rank - 2), rank - 1, rank - 2)
    if held.lies_as(flipped) and not held.lies_as(tuple(range(rank))):
        return site.place(held, flipped), True
    return site.place(held, tuple(range(rank))), False


def _constant_type(x: Known) -> TensorType:
    assert x.scales is not None and x.quantized is not None
    zero = np.zeros(1, x.quantized.dtype) if x.zero_points is None else x.zero_points
    type_ = type_of_scale(x.scales, zero, x.shape)
    assert type_ is not None
    return type_


def einsum(site: Site) -> None:
    """Einsum of two operands, each index at most once in each: a product of matrices, batches of it, and transposes."""
    terms, _, result = str(site.attribute("equation", "")).replace(" ", "").partition("->")
    names = terms.split(",")
    if len(names) != 2 or len(site.node.inputs) != 2 or "..." in terms:
        site.unsupported(f"the equation {site.attribute('equation', '')!r}")
    left, right = names
    if not result and "->" not in str(site.attribute("equation", "")):
        result = "".join(sorted(name for name in {*left, *right} if terms.count(name) == 1))
    a, b = site.operand(0), site.operand(1)
    shared = [name for name in left if name in right]
    batch, summed = [n for n in shared if n in result], [n for n in shared if n not in result]
    rows, columns = ([n for n in one if n not in shared] for one in (left, right))
    is_plain = all(len(set(one)) == len(one) for one in (left, right, result))
    if (
        not is_plain
        or set(result) != {*batch, *rows, *columns}
        or any(len(one) != len(x.shape) for one, x in ((left, a), (right, b)))
    ):
        site.unsupported(f"the equation {site.attribute('equation', '')!r}")
    sizes = dict(zip(left, a.shape, strict=True)) | dict(zip(right, b.shape, strict=True))
    a, b = _grouped(a, left, [batch, rows, summed], sizes), _grouped(b, right, [batch, summed, columns], sizes)
    found = product(site, a, b, None)
    made = [*batch, *rows, *columns]
    order = found.order.reshape([sizes[name] for name in made])
    site.bind(found.rearranged(order.transpose([made.index(name) for name in result])))


def _grouped(x: Operand, names: str, groups: list[list[str]], sizes: dict[str, int]) -> Operand:
    """Axes in the order of the groups; each group of the last two as one axis."""
    axes = [names.index(name) for group in groups for name in group]
    shape = (*(sizes[name] for name in groups[0]), *(int(np.prod([sizes[name] for name in group], dtype=int))
                                                     for group in groups[1:]))  # fmt: skip
    if isinstance(x, Known):
        return Known(x.array.transpose(axes).reshape(shape))
    return x.rearranged(x.order.transpose(axes).reshape(shape))


ROWS: dict[str, Callable[[Site], None]] = {"Einsum": einsum, "MatMul": matmul, "QLinearMatMul": q_matmul}
