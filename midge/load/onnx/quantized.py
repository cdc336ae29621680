"""QuantizeLinear, DequantizeLinear, and the operators of the QOperator form, which are read as what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType
from midge.load.onnx import elementwise, functions, movement, pools, weighted
from midge.load.onnx.held import Held, Known
from midge.load.onnx.scales import as_bytes, is_unsigned, type_of_scale
from midge.load.onnx.site import Site, Target
from midge.ops.add import Add
from midge.ops.base import Activation
from midge.ops.binary import Function as Pair
from midge.ops.map import Function
from midge.ops.mul import Mul
from midge.ops.quantize import Quantize
from midge.ops.sub import Sub


def quantize_linear(site: Site) -> None:
    """From float32 to integers, or, of values that are integers already, to another scale."""
    x = site.held(0)
    if any(site.has(position) and isinstance(site.operand(position), Held) for position in (1, 2)):
        _quantize_by_run_time_scale(site, x)
        return
    zero = site.known(2, "a zero point") if site.has(2) else None
    type_ = type_of_scale(site.known(1, "a scale"), zero, x.type.shape)
    if type_ is None:
        site.unsupported("activations with a scale for each channel, or of a type that is no 8- or 16-bit integer")
    unsigned = is_unsigned(zero)
    if x.is_real:
        site.bind(replace(site.importer.requantized(x, type_), is_real=False, is_unsigned=unsigned))
        return
    x = site.importer.real(x)
    made = site.make(Quantize(), [x.value], type_)
    site.bind(Held(made, type_, x.order, is_unsigned=unsigned))


def _quantize_by_run_time_scale(site: Site, x: Held) -> None:
    """Whole numbers in float32: round(x / scale) + zero point, within the element type."""
    if not site.has(2):
        site.unsupported("a scale computed at run time without a zero point")
    zero = site.operand(2)
    low, high = (0.0, 255.0) if isinstance(zero, Held) or zero.array.dtype == np.uint8 else (-128.0, 127.0)
    if isinstance(zero, Known) and zero.array.dtype not in (np.uint8, np.int8):
        site.unsupported(f"{zero.array.dtype} with a scale computed at run time")
    steps = functions.apply(site, Function.ROUND, functions.two(site, functions.pair(Pair.DIV), x, site.operand(1)))
    moved = functions.two(site, Add, steps, zero)
    above = functions.two(site, functions.pair(Pair.MAXIMUM), moved, functions.number(low))
    site.bind(replace(functions.two(site, functions.pair(Pair.MINIMUM), above, functions.number(high)), is_whole=True))


def dequantize_linear(site: Site) -> None:
    """Integers read as what they stand for; the graph's value stays. Whole numbers in float32 are scaled there."""
    x = site.held(0)
    are_plain = x.type.quantization is None or any(
        site.has(position) and isinstance(site.operand(position), Held) for position in (1, 2)
    )
    if not are_plain:
        site.bind(as_real(site, 0, 1, 2))
        return
    if not (x.is_whole or not x.type.dtype.is_float):
        site.broken("float32 operands", "integers")
    moved = functions.two(site, Sub, x, site.operand(2)) if site.has(2) else site.importer.real(x)
    site.bind(replace(functions.two(site, Mul, moved, _along(site, site.operand(1), x)), is_whole=False))


def _along(site: Site, scale: Known | Held, x: Held) -> Known | Held:
    """A scale for each index of the axis, in a shape that broadcasts."""
    if isinstance(scale, Held) or scale.array.size == 1:
        return scale
    axis = site.axis(int(site.attribute("axis", 1)), len(x.shape))
    if scale.shape != (x.shape[axis],):
        site.broken(f"{scale.array.size} scales", f"{x.shape[axis]}")
    return Known(scale.array.reshape([-1 if k == axis else 1 for k in range(len(x.shape))]))


def as_real(site: Site, x: int, scale: int, zero: int) -> Held:
    """An operand of integers with its scale and zero point, as a tensor of real numbers."""
    held = site.held(x)
    if held.is_real or held.type.dtype.is_float:
        site.broken("float32 operands", "integers")
    zero_point = site.known(zero, "a zero point") if site.has(zero) else None
    type_ = type_of_scale(site.known(scale, "a scale"), zero_point, held.type.shape)
    if type_ is None:
        site.unsupported("activations with a scale for each channel")
    if type_ != held.type:
        site.unsupported("integers read with another scale than they were made with")
    return replace(held, is_real=True)


def _weights(site: Site, position: int, axis: int = 0) -> Known:
    """Constant integers with the scale and zero point that follow them."""
    return dequantized(site.known(position, "weights"), site.known(position + 1, "a scale"),
                       site.known(position + 2, "a zero point") if site.has(position + 2) else None, axis)  # fmt: skip


def dequantized(integers: np.ndarray, scales: np.ndarray, zero_points: np.ndarray | None, axis: int) -> Known:
    """A constant of integers as real numbers that remember them."""
    along = [1] * integers.ndim
    if scales.size > 1:
        along[axis] = -1
    integers = as_bytes(integers)
    centred = integers.astype(np.float32)
    if zero_points is not None:
        zero_points = as_bytes(zero_points)
        centred = centred - zero_points.astype(np.float32).reshape(
            along if zero_points.size > 1 else [1] * integers.ndim
        )
    real = centred * scales.astype(np.float32).reshape(along if scales.size > 1 else [1] * integers.ndim)
    return Known(real.astype(np.float32), integers, scales.reshape(-1), zero_points, axis)


def target_of(site: Site, scale: int, zero: int) -> Target:
    """The result's integers, from a scale and a zero point among the operands."""
    zero_point = site.known(zero, "a zero point") if site.has(zero) else None
    type_ = type_of_scale(site.known(scale, "a scale"), zero_point, ())
    if type_ is None or type_.dtype is not DType.INT8:
        site.unsupported("results with a scale for each channel, or that are not 8-bit integers")
    return Target(type_, Activation.NONE, (site.node.outputs[0],), (), is_unsigned(zero_point))


class Rewritten(Site):
    """A QOperator node as the float operator between dequantised operands and a QuantizeLinear that it stands for."""

    def __init__(self, site: Site, operands: tuple[Known | Held | None, ...], target: Target) -> None:
        node = replace(
            site.node, inputs=tuple("" if found is None else f"operand {k}" for k, found in enumerate(operands))
        )
        super().__init__(site.importer, node)
        self._operands = operands
        self._target = target

    def operand(self, position: int) -> Known | Held:
        found = self._operands[position] if position < len(self._operands) else None
        if found is None:
            self.broken(f"no operand {position}", "one")
        return found

    def target(self, *, fuses: bool = True) -> Target | None:
        del fuses
        return self._target

    def finish(self, target: Target | None, held: Held) -> None:
        """A result in float32 is quantised: weights may be none that integers can be multiplied with."""
        if target is None:
            type_ = replace(self._target.quantization, shape=held.type.shape)
            held = Held(self.make(Quantize(), [held.value], type_), type_, held.order)
        super().finish(self._target, held)

    def quantize(self) -> None:
        """Bring a result that kept its operand's scale to the target's."""
        found = self.importer.tensors[self.node.outputs[0]]
        if isinstance(found, Held) and found.is_real:
            self.finish(self._target, self.importer.requantized(found, self._target.quantization))


def q_conv(site: Site) -> None:
    """QLinearConv: x and w with scale and zero point, those of y, an int32 bias."""
    x, weights, target = as_real(site, 0, 1, 2), _weights(site, 3), target_of(site, 6, 7)
    bias = None
    if site.has(8):
        integers = site.known(8, "a bias")
        assert weights.scales is not None and x.type.quantization is not None
        scales = np.float64(x.type.quantization.scale) * weights.scales.astype(np.float64)
        bias = Known(integers * scales.astype(np.float32), integers, scales)
    weighted.convolve(Rewritten(site, (x, weights, bias), target), x, weights, bias, target)


def q_matmul(site: Site) -> None:
    """QLinearMatMul with constant weights: a with scale and zero point, b with theirs, those of y."""
    x, weights = as_real(site, 0, 1, 2), _weights(site, 3, 1)
    weighted.matmul(Rewritten(site, (x, weights), target_of(site, 6, 7)))


def q_gemm(site: Site) -> None:
    """com.microsoft.QGemm: a and b with scale and zero point, an int32 bias, scale and zero point of y."""
    x, weights = as_real(site, 0, 1, 2), _weights(site, 3, 0 if site.attribute("transB", 0) else 1)
    if not site.has(7):
        site.unsupported("a float32 result")
    bias = None
    if site.has(6):
        integers = site.known(6, "a bias")
        assert weights.scales is not None and x.type.quantization is not None
        scales = np.float64(x.type.quantization.scale) * weights.scales.astype(np.float64)
        bias = Known(integers * scales.astype(np.float32), integers, scales)
    weighted.gemm(Rewritten(site, (x, weights, bias), target_of(site, 7, 8)))


def operand_of(site: Site, position: int) -> Known | Held:
    """An operand with its scale and zero point behind it."""
    if isinstance(site.operand(position), Known):
        return _weights(site, position)
    return as_real(site, position, position + 1, position + 2)


def q_add(site: Site) -> None:
    """com.microsoft.QLinearAdd: a and b with scale and zero point, those of the result."""
    a, b = operand_of(site, 0), operand_of(site, 3)
    elementwise.combine(Rewritten(site, (a, b), target_of(site, 6, 7)), Add, a, b)


def q_mul(site: Site) -> None:
    """com.microsoft.QLinearMul."""
    a, b = operand_of(site, 0), operand_of(site, 3)
    elementwise.combine(Rewritten(site, (a, b), target_of(site, 6, 7)), Mul, a, b)


def q_unary(row: Callable[[Site], None]) -> Callable[[Site], None]:
    """com.microsoft.QLinearX: x with scale and zero point, those of the result; `row` imports X."""

    def quantized(site: Site) -> None:
        inner = Rewritten(site, (as_real(site, 0, 1, 2),), target_of(site, 3, 4))
        row(inner)
        inner.quantize()

    return quantized


def q_concat(site: Site) -> None:
    """com.microsoft.QLinearConcat: scale and zero point of the result, then each operand with its own."""
    operands = tuple(operand_of(site, k) for k in range(2, len(site.node.inputs), 3))
    movement.concat(Rewritten(site, operands, target_of(site, 0, 1)))


ROWS: dict[str, Callable[[Site], None]] = {
    "DequantizeLinear": dequantize_linear,
    "QLinearConv": q_conv,
    "QuantizeLinear": quantize_linear,
    "com.microsoft:QGemm": q_gemm,
    "com.microsoft:QLinearAdd": q_add,
    "com.microsoft:QLinearAveragePool": q_unary(pools.average_pool),
    "com.microsoft:QLinearConcat": q_concat,
    "com.microsoft:QLinearGlobalAveragePool": q_unary(pools.global_average),
    "com.microsoft:QLinearMul": q_mul,
    "com.microsoft:QLinearReduceMean": q_unary(pools.reduce_mean),
    "com.microsoft:QLinearSigmoid": q_unary(elementwise.sigmoid),
    "com.microsoft:QLinearSoftmax": q_unary(elementwise.softmax),
}
