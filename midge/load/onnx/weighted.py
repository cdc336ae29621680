"""Layers with weights: Conv, Gemm, MatMul, and their quantised forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from midge.ir.types import DType, Quantization, TensorType
from midge.load.onnx import functions
from midge.load.onnx.held import Held, Known, channels_last
from midge.load.onnx.scales import symmetric_weights
from midge.load.onnx.site import Site, Target, quantization_of
from midge.load.onnx.windows import image_of, require_image, two, window_of
from midge.ops.add import Add
from midge.ops.base import Activation, Op, Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.mul import Mul


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights as the graph holds them, `outputs` of them along `axis`; int8 or int16 without zero points, or
    float32."""

    array: np.ndarray
    scales: np.ndarray | None
    axis: int

    @property
    def type(self) -> TensorType:
        if self.scales is None:
            return TensorType(DType.FLOAT32, self.array.shape)
        scales = tuple(float(np.float32(scale)) for scale in self.scales.reshape(-1))
        axis = self.axis if len(scales) > 1 else None
        return TensorType(DType.of(self.array), self.array.shape, Quantization(scales, (0,) * len(scales), axis))


def conv(site: Site) -> None:
    """Conv in one or two dimensions."""
    target = site.target() if reads_integers(site, 0) else None
    convolve(site, site.held(0), site.constant(1, "weights"), bias_of(site, 2), target)


def convolve(site: Site, x: Held, weights: Known, bias: Known | None, target: Target | None) -> None:
    """A convolution as integers for `target`, or in float32."""
    require_image(site, x)
    if len(weights.shape) != len(x.shape) or min(weights.shape) < 1:
        site.broken(f"weights of shape {list(weights.shape)}", f"{len(x.shape)} dimensions")
    groups, channels, outputs = int(site.attribute("group", 1)), x.shape[1], weights.shape[0]
    if groups < 1 or channels != weights.shape[1] * groups or outputs % groups:
        site.broken(f"{channels} channels in {groups} groups, weights of shape {list(weights.shape)}",
                    "groups that divide both")  # fmt: skip
    window = window_of(site, x.shape[2:], weights.shape[2:])
    rows, columns = window.output_size(*two(x.shape[2:], 1))
    if min(rows, columns) < 1:
        site.broken(f"a window larger than its input {list(x.shape)}", "one that fits")
    is_depthwise = groups == channels and groups > 1

    def arranged(array: np.ndarray) -> np.ndarray:
        flat = array.reshape(*array.shape[:2], *two(array.shape[2:], 1))
        return flat.transpose((1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1))

    fields = (window.stride_h, window.stride_w, window.dilation_h, window.dilation_w, window.padding)

    def make(activation: Activation) -> Op:
        if is_depthwise:
            return DepthwiseConv2D(*fields, activation, Rounding.DOUBLE, outputs // channels)
        return Conv2D(*fields, activation, Rounding.DOUBLE)

    axes = channels_last(len(x.shape))
    shape = (1, outputs, rows, columns)[: len(x.shape)]
    emit_weighted(site, x, weights, bias, target, arranged, 3 if is_depthwise else 0, make,
          lambda held: image_of(site, held), (1, rows, columns, outputs), shape, axes)  # fmt: skip


def gemm(site: Site) -> None:
    """Gemm with constant B; A one row, or rows of features."""
    x, weights = site.held(0), site.constant(1, "weights")
    alpha, beta = float(site.attribute("alpha", 1.0)), float(site.attribute("beta", 1.0))
    if site.attribute("transA", 0) and x.shape[:1] != (1,):
        x = x.rearranged(x.order.T)
    if len(x.shape) != 2 or len(weights.shape) != 2:
        site.broken(f"operands of shape {list(x.shape)} and {list(weights.shape)}", "matrices")
    flipped = weights if site.attribute("transB", 0) else _transposed(weights)
    addend, outputs = site.operand(2) if site.has(2) else None, flipped.shape[0]
    bias = addend if isinstance(addend, Known) and _is_row(addend, outputs) else None
    if alpha != 1.0:
        flipped = Known((flipped.array * np.float32(alpha)).astype(np.float32))
    if bias is not None:
        row = np.broadcast_to(bias.array.reshape(-1), (outputs,))
        bias = Known(row * np.float32(beta)) if beta != 1.0 else bias
    is_last = addend is None or bias is not None
    target = site.target() if reads_integers(site, 0) and flipped.quantized is not None and is_last else None
    connect(site, x, flipped, bias, target, (x.shape[0], outputs))
    if addend is not None and bias is None:
        _add_scaled(site, addend, beta, (x.shape[0], outputs))


def _is_row(addend: Known, outputs: int) -> bool:
    """True where a bias is the same for all rows."""
    return addend.array.size == 1 or (addend.array.size == outputs and addend.shape[-1] == outputs)


def _add_scaled(site: Site, addend: Known | Held, beta: float, shape: tuple[int, int]) -> None:
    """A third operand of Gemm that differs from row to row, or is computed."""
    if len(addend.shape) > 2 or any(a not in (1, b) for a, b in zip(addend.shape[::-1], shape[::-1], strict=False)):
        site.broken(f"a bias of shape {list(addend.shape)}", f"one that broadcasts to {list(shape)}")
    if beta != 1.0:
        addend = functions.two(site, Mul, addend, functions.number(beta)) if isinstance(addend, Held) else Known(
            addend.array * np.float32(beta)
        )  # fmt: skip
    site.bind(functions.two(site, Add, site.importer.tensors[site.node.outputs[0]], addend))


def matmul(site: Site) -> None:
    """MatMul of a tensor with a constant matrix on its right; a third operand is a bias (`rewrite`)."""
    if isinstance(site.operand(0), Known):
        site.unsupported("a constant on the left")
    weights = site.constant(1, "the right matrix")
    target = site.target() if reads_integers(site, 0) and weights.quantized is not None else None
    multiply(site, site.held(0), weights, bias_of(site, 2), target)


def multiply(site: Site, x: Held, weights: Known, bias: Known | None, target: Target | None) -> None:
    """A tensor times a constant matrix on its right, and a bias."""
    if len(weights.shape) == 1:
        site.unsupported("a vector on the right")
    if any(size != 1 for size in weights.shape[:-2]):
        site.unsupported(f"weights of shape {list(weights.shape)}")
    if len(weights.shape) > 2:
        flat = weights.shape[-2:]
        integers = None if weights.quantized is None else weights.quantized.reshape(flat)
        weights = weights.moved(weights.array.reshape(flat), integers)
    flipped = _transposed(weights)
    connect(site, x, flipped, bias, target if flipped.quantized is not None else None,
            (*x.shape[:-1], flipped.shape[0]))  # fmt: skip


def linear(site: Site) -> None:
    """Weights [outputs, inputs] over the last axis of any tensor, and a bias: as other formats than ONNX have it."""
    x, weights = site.held(0), site.constant(1, "weights")
    target = site.target() if reads_integers(site, 0) and weights.quantized is not None else None
    connect(site, x, weights, bias_of(site, 2), target, (*x.shape[:-1], weights.shape[0]))


def connect(site: Site, x: Held, weights: Known, bias: Known | None, target: Target | None,
            shape: tuple[int, ...]) -> None:  # fmt: skip
    """A fully connected layer over the last axis; `weights` [outputs, inputs]."""
    outputs, depth = weights.shape
    if x.shape[-1] != depth:
        site.broken(f"an input of shape {list(x.shape)} with {depth} weights each", "as many values in the last axis")
    identity = tuple(range(len(x.shape)))
    positions = None
    if x.order.size == depth == x.type.elements and not x.lies_as(identity):
        # One row: its weights go where its elements lie.
        positions = np.argsort(x.order.reshape(-1))

    def arranged(array: np.ndarray) -> np.ndarray:
        return array if positions is None else array[:, positions]

    def place(held: Held) -> str:
        return held.value if positions is not None else site.place(held, identity)

    rows = x.order.size // depth
    flat = (rows, outputs)

    def make(activation: Activation) -> Op:
        return FullyConnected(activation, site.importer.rounding, False)

    emit_weighted(site, x, weights, bias, target, arranged, 0, make, place, flat, shape, tuple(range(len(shape))))


def emit_weighted(site: Site, x: Held, weights: Known, bias: Known | None, target: Target | None,
          arranged: Callable[[np.ndarray], np.ndarray], axis: int, make: Callable[[Activation], Op],
          place: Callable[[Held], str], value_shape: tuple[int, ...], shape: tuple[int, ...],
          axes: tuple[int, ...]) -> None:  # fmt: skip
    """Constants, the node, and its result."""
    packed = _integer_weights(site, weights, arranged, axis) if target is not None else None
    if target is not None and packed is not None:
        activation, type_ = target.activation, TensorType(DType.INT8, value_shape, target.quantization.quantization)
    else:
        target, activation, type_ = None, Activation.NONE, TensorType(DType.FLOAT32, value_shape)
        x = site.importer.real(x)
        packed = Weights(np.ascontiguousarray(arranged(weights.array).astype(np.float32)), None, axis)
    operand = place(x)
    constants: list[str | None] = [site.new_constant("weights", packed.type, packed.array), None]
    if bias is not None:
        constants[1] = _emit_bias(site, x, packed, bias, math.prod(value_shape[-1:]))
    made = site.make(make(activation), [operand, *constants], type_)
    site.finish(target, site.held_of(made, shape, axes))


def _emit_bias(site: Site, x: Held, weights: Weights, bias: Known, outputs: int) -> str:
    """The bias as float32, or as int32 in the scale of the accumulators."""
    if bias.array.size not in (1, outputs):
        site.broken(f"a bias of shape {list(bias.shape)}", f"[{outputs}]")
    real = np.broadcast_to(bias.array.reshape(-1), (outputs,))
    if weights.scales is None:
        return site.new_constant("bias", TensorType(DType.FLOAT32, (outputs,)), real.astype(np.float32))
    scales = quantization_of(x.type).scale * weights.scales.astype(np.float64).reshape(-1)
    if bias.quantized is not None and bias.scales is not None and np.allclose(bias.scales, scales, rtol=1e-5, atol=0):
        integers = np.broadcast_to(bias.quantized.reshape(-1), (outputs,)).astype(np.int64)
    else:
        integers = np.rint(real.astype(np.float64) / scales)
    limits = np.iinfo(np.int32)
    clipped = np.clip(integers, limits.min, limits.max).astype(np.int32)
    return site.new_constant("bias", TensorType(DType.INT32, (outputs,)), clipped)


def _integer_weights(site: Site, weights: Known, arranged: Callable[[np.ndarray], np.ndarray], axis: int
                     ) -> Weights | None:  # fmt: skip
    """Integer weights; None where the constant is not quantised along its outputs, or too far from its zero point."""
    if weights.quantized is None or weights.scales is None or weights.quantized.dtype not in (np.int8, np.uint8):
        return None
    if weights.scales.size > 1 and (weights.axis != 0 or weights.scales.size != weights.shape[0]):
        return None
    centred = symmetric_weights(weights.quantized, weights.zero_points, 0)
    if centred is None:
        return None
    return Weights(np.ascontiguousarray(arranged(centred)), weights.scales, axis)


def _transposed(weights: Known) -> Known:
    """[in, out] as [out, in]; scales along the outputs stay with them."""
    quantized = None if weights.quantized is None else weights.quantized.T
    axis = 1 - weights.axis % 2
    return Known(weights.array.T, quantized, weights.scales, weights.zero_points, axis)


def bias_of(site: Site, position: int) -> Known | None:
    return site.constant(position, "a bias") if site.has(position) else None


def reads_integers(site: Site, position: int) -> bool:
    found = site.operand(position)
    return isinstance(found, Held) and found.is_real and found.type.dtype is DType.INT8
