"""Layers with weights: convolutions and fully connected layers; and what convolutions and pools share."""

from __future__ import annotations

import math

from midge.ir.types import DType, TensorType
from midge.load.tflite import batches
from midge.load.tflite.guards import require_weighted
from midge.load.tflite.hybrid import hybrid_depthwise, hybrid_fully_connected
from midge.load.tflite.site import Site
from midge.load.tflite.zero_points import centred_weights
from midge.ops.base import Padding, Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.transposed_conv2d import TransposedConv2D
from midge.ops.windows import Window

_SAME, _VALID = 0, 1


def padding_of(site: Site, scheme: int, image: tuple[int, ...], window: Window) -> Padding:
    """The explicit padding of SAME or VALID round [N, H, W, C]: SAME makes ceil(size / stride) outputs, the odd pixel
    goes after."""
    if scheme == _VALID:
        return Padding(0, 0, 0, 0)
    if scheme != _SAME:
        site.broken(f"padding scheme {scheme}", "SAME or VALID")

    def split(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        span = (kernel - 1) * dilation + 1
        total = max((math.ceil(size / stride) - 1) * stride + span - size, 0)
        return total // 2, total - total // 2

    rows = split(image[1], window.kernel_h, window.stride_h, window.dilation_h)
    columns = split(image[2], window.kernel_w, window.stride_w, window.dilation_w)
    return Padding(*rows, *columns)


def image_of(site: Site) -> TensorType:
    """The type of operand 0, [1, H, W, C]."""
    x = site.type(0)
    if len(x.shape) != 4 or min(x.shape) < 1:
        site.broken(f"an input of shape {list(x.shape)}", "[batch, height, width, channels]")
    site.require_batch_1(x)
    return x


def _weights(site: Site, rank: int) -> TensorType:
    weights = site.type(1)
    is_widened = weights.dtype is DType.INT16 and site.type(0).dtype is DType.INT8
    if weights.dtype not in (DType.FLOAT32, DType.INT8) and not is_widened:
        site.unsupported(f"weights of type {weights.dtype.value}")
    if len(weights.shape) != rank or min(weights.shape) < 1:
        site.broken(f"weights of shape {list(weights.shape)}", f"{rank} dimensions")
    site.known(1, "weights")
    quantization = weights.quantization
    if quantization is not None and any(quantization.zero_points):
        site.unsupported("int8 weights with a zero point")
    return weights


def require_positive(site: Site, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            site.broken(f"{name.replace('_', ' ')} {number}", "a positive number")


def _bias(site: Site, weights: TensorType, channels: int) -> int | None:
    """The bias operand. A missing scale of the weights is told here, where their use is known."""
    index = site.operand(2)
    if index is None:
        return None
    bias = site.type(2)
    if bias.shape != (channels,):
        site.broken(f"a bias of shape {list(bias.shape)}", f"[{channels}]")
    wide = bias.dtype is DType.INT64 and site.type(0).dtype is DType.INT16
    if bias.dtype not in (DType.INT32, DType.FLOAT32) and not wide:
        site.unsupported(f"a bias of type {bias.dtype.value}")
    if bias.dtype.is_float != (weights.dtype.is_float or site.type(0).dtype.is_float):
        site.unsupported(f"a {bias.dtype.value} bias with {weights.dtype.value} weights")
    site.known(2, "a bias")
    return index


def conv_2d(site: Site) -> None:
    """CONV_2D: int8, float32, and int8 weights with float32 activations."""
    site = centred_weights(site)
    x, weights = image_of(site), _weights(site, 4)
    scheme, stride_h, stride_w, dilation_h, dilation_w, code = site.options(
        "Conv2DOptions", "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor",
        "FusedActivationFunction",
    )  # fmt: skip
    require_positive(site, stride_h=stride_h, stride_w=stride_w, dilation_h=dilation_h, dilation_w=dilation_w)
    hybrid = x.dtype.is_float and weights.dtype is DType.INT8
    require_weighted(site)
    if x.shape[3] % weights.shape[3] or weights.shape[0] % (x.shape[3] // weights.shape[3]):
        site.broken(f"{x.shape[3]} channels with weights of shape {list(weights.shape)}", "groups that divide both")
    window = Window(weights.shape[1], weights.shape[2], stride_h, stride_w, dilation_h, dilation_w, Padding(0, 0, 0, 0))
    padding = padding_of(site, scheme, x.shape, window)
    fields = (stride_h, stride_w, dilation_h, dilation_w, padding, site.activation(code))
    if hybrid:
        quantization = site.raw(1).quantization
        if quantization is None:
            site.broken("int8 weights without a scale", "quantised weights")
        # Weights with a scale for each output make the runtime quantise the input with a zero point.
        op = batches.spread(site, Conv2DHybrid(*fields, asymmetric=len(quantization.scales) > 1))
    else:
        op = batches.spread(site, Conv2D(*fields, _rounding(site)))
    bias = _bias(site, weights, weights.shape[0])
    rows, columns = op.window(weights).output_size(x.shape[1], x.shape[2])
    site.emit(op, [site.required(0), site.required(1), bias], (1, rows, columns, weights.shape[0]))


def _rounding(site: Site) -> Rounding:
    """Convolutions of int16 round once, unless their bias has 32 bits."""
    is_wide = site.type(0).dtype is DType.INT16 and (site.operand(2) is None or site.type(2).dtype is DType.INT64)
    return Rounding.REDUCED if is_wide else Rounding.DOUBLE


def depthwise_conv_2d(site: Site) -> None:
    """DEPTHWISE_CONV_2D: int8, float32, and int8 weights with float32 activations."""
    site = centred_weights(site)
    x, weights = image_of(site), _weights(site, 4)
    scheme, stride_h, stride_w, dilation_h, dilation_w, code = site.options(
        "DepthwiseConv2DOptions", "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor",
        "FusedActivationFunction",
    )  # fmt: skip
    require_positive(site, stride_h=stride_h, stride_w=stride_w, dilation_h=dilation_h, dilation_w=dilation_w)
    require_weighted(site)
    multiplier, rest = divmod(weights.shape[3], x.shape[3])
    if rest or weights.shape[0] != 1:
        site.broken(f"{x.shape[3]} channels with weights of shape {list(weights.shape)}",
                    "[1, height, width, a multiple of the channels]")  # fmt: skip
    window = Window(weights.shape[1], weights.shape[2], stride_h, stride_w, dilation_h, dilation_w, Padding(0, 0, 0, 0))
    padding = padding_of(site, scheme, x.shape, window)
    fields = (stride_h, stride_w, dilation_h, dilation_w, padding, site.activation(code))
    bias = _bias(site, weights, weights.shape[3])
    if x.dtype.is_float and weights.dtype is DType.INT8:
        hybrid_depthwise(site, weights, bias, batches.spread(site, Conv2DHybrid(*fields, asymmetric=True)))
        return
    op = batches.spread(site, DepthwiseConv2D(*fields, _rounding(site), multiplier))
    rows, columns = op.window(weights).output_size(x.shape[1], x.shape[2])
    site.emit(op, [site.required(0), site.required(1), bias], (1, rows, columns, weights.shape[3]))


def transpose_conv(site: Site) -> None:
    """TRANSPOSE_CONV to a fixed shape. Operands are that shape, weights, input and bias.

    A shape that comes at run time can only be the one that the file gives its result.
    """
    is_fixed = site.constant(0) is None and not site.importer.raw.tensors[site.result()].dynamic
    shape = site.result_type().shape if is_fixed else tuple(site.known(0, "a shape").reshape(-1).tolist())
    inner = site.with_operands(
        [site.required(2), site.required(1), -1 if site.operand(3) is None else site.required(3)]
    )
    inner = centred_weights(inner)
    x, weights = image_of(inner), _weights(inner, 4)
    scheme, stride_h, stride_w = site.options("TransposeConvOptions", "Padding", "StrideH", "StrideW")
    (code,) = site.options("TransposeConvOptions", "FusedActivationFunction")
    require_positive(site, stride_h=stride_h, stride_w=stride_w)
    require_weighted(inner)
    if x.dtype.is_float != weights.dtype.is_float:
        site.unsupported(f"operands of type {x.dtype.value}, {weights.dtype.value}")
    if len(shape) != 4 or shape[0] != 1 or shape[3] != weights.shape[0] or not 1 <= min(shape) <= max(shape) < 1 << 16:
        site.broken(f"the shape {list(shape)}", f"[1, height, width, {weights.shape[0]}]")
    if x.shape[3] != weights.shape[3]:
        site.broken(f"{x.shape[3]} channels with weights of shape {list(weights.shape)}", "as many")
    window = Window(weights.shape[1], weights.shape[2], stride_h, stride_w, 1, 1, Padding(0, 0, 0, 0))
    cut = padding_of(site, scheme, shape, window)
    op = TransposedConv2D(stride_h, stride_w, cut.top, cut.left, shape[1], shape[2], site.activation(code))
    bias = _bias(inner, weights, weights.shape[0])
    inner.emit(op, [inner.required(0), inner.required(1), bias], shape)


def fully_connected(site: Site) -> None:
    """FULLY_CONNECTED with constant weights: int8, float32, and int8 weights with float32 activations."""
    site = centred_weights(site)
    x, weights = site.type(0), _weights(site, 2)
    code, weights_format, keep_dims, asymmetric = site.options(
        "FullyConnectedOptions", "FusedActivationFunction", "WeightsFormat", "KeepNumDims", "AsymmetricQuantizeInputs"
    )
    if weights_format != 0:
        site.unsupported("shuffled weights")
    outputs, depth = weights.shape
    hybrid = x.dtype.is_float and weights.dtype is DType.INT8
    require_weighted(site)
    if min(x.shape, default=0) < 1 or x.elements % depth or (keep_dims and x.shape[-1] != depth):
        site.broken(f"an input of shape {list(x.shape)}", f"rows of {depth} values")
    shape = (*x.shape[:-1], outputs) if keep_dims else (x.elements // depth, outputs)
    if hybrid:
        bias = _bias(site, weights, outputs)
        hybrid_fully_connected(site, weights, bias, site.activation(code), bool(asymmetric), shape)
        return
    rounding = site.importer.fully_connected_rounding
    rounding = _rounding(site) if rounding is Rounding.DOUBLE else rounding
    op = FullyConnected(site.activation(code), rounding, bool(keep_dims))
    site.emit(op, [site.required(0), site.required(1), _bias(site, weights, outputs)], shape)


ROWS = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
}
