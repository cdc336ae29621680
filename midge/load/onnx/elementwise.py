"""Arithmetic element by element, activations, softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, Quantization, TensorType
from midge.load.onnx.held import Held, Known, Order
from midge.load.onnx.scales import as_signed
from midge.load.onnx.site import Site, Target, clip_limits, rectifier_of
from midge.ops.add import Add
from midge.ops.base import Activation, Op
from midge.ops.logistic import Logistic
from midge.ops.mul import Mul
from midge.ops.relu import Relu
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh

Operand = Known | Held
UNIT = Quantization((1 / 256,), (-128,), None)
"""What int8 results of softmax and logistic have."""
_SYMMETRIC_UNIT = Quantization((1 / 128,), (0,), None)


def add(site: Site) -> None:
    combine(site, Add, site.operand(0), site.operand(1))


def sub(site: Site) -> None:
    combine(site, Sub, site.operand(0), site.operand(1))


def mul(site: Site) -> None:
    combine(site, Mul, site.operand(0), site.operand(1))


def div(site: Site) -> None:
    """Division by constants: multiplication by what 1 / constant is in float32."""
    divisor = site.known(1, "a divisor")
    if divisor.dtype.kind != "f" or not np.all(divisor):
        site.unsupported("division by zero, or of integers")
    combine(site, Mul, site.operand(0), Known((np.float32(1) / divisor).astype(np.float32)))


def sum_of(site: Site) -> None:
    """Sum of two or more."""
    if len(site.node.inputs) == 1:
        site.bind(site.operand(0))
        return
    found = [site.operand(position) for position in range(len(site.node.inputs))]
    combine(site, Add, found[0], found[1])
    for other in found[2:]:
        combine(site, Add, site.importer.tensors[site.node.outputs[0]], other)


def combine(site: Site, make: Callable[[Activation], Op], a: Operand, b: Operand) -> None:
    """Two operands that broadcast: in integers where they are, and a QuantizeLinear follows; else in float32."""
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "operands that broadcast")
    target = site.target() if is_quantized(a) and is_quantized(b) else None
    site.finish(target, combined(site, make, a, b, target))


def combined(site: Site, make: Callable[[Activation], Op], a: Operand, b: Operand, target: Target | None) -> Held:
    """The node of two operands, in the integers of `target`, or in float32."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    axes = common_axes([a, b], shape)
    names = [_operand(site, operand, shape, axes, is_integer=target is not None) for operand in (a, b)]
    out = tuple(shape[axis] for axis in axes)
    if target is None:
        made = site.make(make(Activation.NONE), names, TensorType(DType.FLOAT32, out))
    else:
        made = site.make(make(target.activation), names, replace(target.quantization, shape=out))
    whole = target is None and make in _KEEP_WHOLE and all(is_whole(operand) for operand in (a, b))
    return replace(site.held_of(made, shape, axes), is_whole=whole)


_KEEP_WHOLE = (Add, Sub, Mul)
"""What makes whole numbers of whole numbers."""


def is_whole(operand: Operand) -> bool:
    """True where the ONNX tensor has an integer type."""
    if isinstance(operand, Known):
        return operand.array.dtype.kind in "iu"
    return operand.is_whole or not (operand.is_real or operand.type.dtype.is_float)


def is_quantized(operand: Operand) -> bool:
    """True where there are int8 integers with one scale."""
    if isinstance(operand, Held):
        return operand.is_real and operand.type.dtype is DType.INT8
    return operand.quantized is not None and operand.scales is not None and operand.scales.size == 1


def common_axes(operands: Sequence[Operand], shape: tuple[int, ...]) -> Order:
    """The arrangement of the first operand that has the result's shape and a plain arrangement."""
    for operand in operands:
        if isinstance(operand, Held) and operand.shape == shape:
            axes = operand.axes
            if axes is not None:
                return axes
    return tuple(range(len(shape)))


def _operand(site: Site, operand: Operand, shape: tuple[int, ...], axes: Order, *, is_integer: bool) -> str:
    """An operand as a value of as many axes as the result, in its arrangement."""
    wide = (1,) * (len(shape) - len(operand.shape)) + operand.shape
    if isinstance(operand, Held):
        held = operand if is_integer else site.importer.real(operand)
        return site.place(held.rearranged(held.order.reshape(wide)), axes)
    if is_integer:
        assert operand.quantized is not None and operand.scales is not None
        data = as_signed(operand.quantized).reshape(wide).transpose(axes)
        return site.new_constant("constant", _type_of(operand, data.shape), data)
    data = operand.array.astype(np.float32).reshape(wide).transpose(axes)
    return site.new_constant("constant", TensorType(DType.FLOAT32, data.shape), data)


def _type_of(constant: Known, shape: tuple[int, ...]) -> TensorType:
    assert constant.scales is not None and constant.quantized is not None
    zero = 0 if constant.zero_points is None else int(constant.zero_points.reshape(-1)[0])
    excess = 128 if constant.quantized.dtype == np.uint8 else 0
    scale = float(np.float32(constant.scales.reshape(-1)[0]))
    return TensorType(DType.INT8, shape, Quantization((scale,), (zero - excess,), None))


def relu(site: Site) -> None:
    rectify(site, Activation.RELU)


def clip(site: Site) -> None:
    """Clip to the bounds of a rectifier; without bounds it is nothing."""
    limits = clip_limits(site)
    if limits == (-np.inf, np.inf):
        site.bind(site.operand(0))
        return
    activation = rectifier_of(limits)
    if activation is None:
        site.unsupported(f"bounds {limits}" if limits else "bounds computed at run time")
    rectify(site, activation)


def rectify(site: Site, activation: Activation) -> None:
    unary(site, site.held(0), Relu(activation), None)


def sigmoid(site: Site) -> None:
    unary(site, site.held(0), Logistic(), UNIT)


def tanh(site: Site) -> None:
    unary(site, site.held(0), Tanh(), _SYMMETRIC_UNIT)


def unary(site: Site, x: Held, op: Op, fixed: Quantization | None) -> None:
    """One operand, in whatever order its elements lie. `fixed`: the quantisation that int8 results have."""
    target = site.target(fuses=False) if is_quantized(x) else None
    if target is None:
        x = site.importer.real(x)
    _finish_unary(site, x, op, x.value, x.type.shape, target, fixed, x.order)


def _finish_unary(site: Site, x: Held, op: Op, operand: str, shape: tuple[int, ...], target: Target | None,
                  fixed: Quantization | None, order: np.ndarray) -> None:  # fmt: skip
    """The node of one operand; integers come in the `fixed` quantisation first, and then in the target's."""
    if target is None:
        type_ = TensorType(DType.FLOAT32, shape)
    else:
        type_ = TensorType(DType.INT8, shape, fixed or target.quantization.quantization)
    made = site.make(op, [operand], type_)
    held = Held(made, type_, order)
    site.finish(target, held if target is None else site.importer.requantized(held, target.quantization))


def softmax(site: Site) -> None:
    """Softmax along one axis; before opset 13 over all that follow it, which may be one only here."""
    x = site.held(0)
    shape, rank = x.shape, len(x.shape)
    is_old = site.importer.raw.opset < 13
    axis = site.axis(int(site.attribute("axis", 1 if is_old else -1)), rank)
    if is_old and any(size != 1 for size in x.shape[axis + 1 :]):
        flat = (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))
        x, axis, rank = x.rearranged(x.order.reshape(flat)), 1, 2
    target = site.target(fuses=False) if is_quantized(x) else None
    if target is None:
        x = site.importer.real(x)
    axes = (*(other for other in range(rank) if other != axis), axis)
    operand = site.place(x, axes)
    placed = site.held_of(operand, x.shape, axes)
    _finish_unary(site, x, Softmax(1.0), operand, placed.type.shape, target, UNIT, placed.order.reshape(shape))
