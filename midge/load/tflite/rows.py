"""How each .tflite operator becomes nodes of the graph: one row per operator in `ROWS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.tflite import (
    batches,
    control,
    functions,
    logic,
    movement,
    products,
    recurrent,
    resampling,
    shapes,
    variables,
)
from midge.load.tflite.site import Site
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Padding, Rounding
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.dequantize import Dequantize
from midge.ops.fully_connected import FullyConnected
from midge.ops.logistic import Logistic
from midge.ops.map import Function, Map
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean, reduced_shape
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh
from midge.ops.transposed_conv2d import TransposedConv2D
from midge.ops.windows import Window

_SAME, _VALID = 0, 1


def _padding(site: Site, scheme: int, image: tuple[int, ...], window: Window) -> Padding:
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


def _image(site: Site) -> TensorType:
    """The type of operand 0, [1, H, W, C]."""
    x = site.type(0)
    if len(x.shape) != 4 or min(x.shape) < 1:
        site.broken(f"an input of shape {list(x.shape)}", "[batch, height, width, channels]")
    site.require_batch_1(x)
    return x


def _weights(site: Site, rank: int) -> TensorType:
    weights = site.type(1)
    if weights.dtype not in (DType.FLOAT32, DType.INT8):
        site.unsupported(f"weights of type {weights.dtype.value}")
    if len(weights.shape) != rank or min(weights.shape) < 1:
        site.broken(f"weights of shape {list(weights.shape)}", f"{rank} dimensions")
    site.known(1, "weights")
    quantization = weights.quantization
    if quantization is not None and any(quantization.zero_points):
        site.unsupported("int8 weights with a zero point")
    return weights


def _positive(site: Site, **numbers: int) -> None:
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
    if bias.dtype not in (DType.INT32, DType.FLOAT32):
        site.unsupported(f"a bias of type {bias.dtype.value}")
    if bias.dtype.is_float != (weights.dtype.is_float or site.type(0).dtype.is_float):
        site.unsupported(f"a {bias.dtype.value} bias with {weights.dtype.value} weights")
    site.known(2, "a bias")
    return index


def conv_2d(site: Site) -> None:
    """CONV_2D: int8, float32, and int8 weights with float32 activations."""
    x, weights = _image(site), _weights(site, 4)
    scheme, stride_h, stride_w, dilation_h, dilation_w, code = site.options(
        "Conv2DOptions", "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor",
        "FusedActivationFunction",
    )  # fmt: skip
    _positive(site, stride_h=stride_h, stride_w=stride_w, dilation_h=dilation_h, dilation_w=dilation_w)
    hybrid = x.dtype.is_float and weights.dtype is DType.INT8
    site.require_dtypes(site.required(0), site.result(), *([] if hybrid else [site.required(1)]))
    if x.shape[3] % weights.shape[3] or weights.shape[0] % (x.shape[3] // weights.shape[3]):
        site.broken(f"{x.shape[3]} channels with weights of shape {list(weights.shape)}", "groups that divide both")
    window = Window(weights.shape[1], weights.shape[2], stride_h, stride_w, dilation_h, dilation_w, Padding(0, 0, 0, 0))
    padding = _padding(site, scheme, x.shape, window)
    fields = (stride_h, stride_w, dilation_h, dilation_w, padding, site.activation(code))
    if hybrid:
        quantization = site.raw(1).quantization
        if quantization is None:
            site.broken("int8 weights without a scale", "quantised weights")
        # Weights with a scale for each output make the runtime quantise the input with a zero point.
        op = Conv2DHybrid(*fields, asymmetric=len(quantization.scales) > 1)
    else:
        op = Conv2D(*fields, Rounding.DOUBLE)
    op, bias = batches.spread(site, op), _bias(site, weights, weights.shape[0])
    rows, columns = op.window(weights).output_size(x.shape[1], x.shape[2])
    site.emit(op, [site.required(0), site.required(1), bias], (1, rows, columns, weights.shape[0]))


def depthwise_conv_2d(site: Site) -> None:
    """DEPTHWISE_CONV_2D: int8 and float32."""
    x, weights = _image(site), _weights(site, 4)
    scheme, stride_h, stride_w, dilation_h, dilation_w, code = site.options(
        "DepthwiseConv2DOptions", "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor",
        "FusedActivationFunction",
    )  # fmt: skip
    _positive(site, stride_h=stride_h, stride_w=stride_w, dilation_h=dilation_h, dilation_w=dilation_w)
    site.require_dtypes(site.required(0), site.required(1), site.result())
    multiplier, rest = divmod(weights.shape[3], x.shape[3])
    if rest or weights.shape[0] != 1:
        site.broken(f"{x.shape[3]} channels with weights of shape {list(weights.shape)}",
                    "[1, height, width, a multiple of the channels]")  # fmt: skip
    window = Window(weights.shape[1], weights.shape[2], stride_h, stride_w, dilation_h, dilation_w, Padding(0, 0, 0, 0))
    padding = _padding(site, scheme, x.shape, window)
    op = DepthwiseConv2D(stride_h, stride_w, dilation_h, dilation_w, padding, site.activation(code), Rounding.DOUBLE,
                         multiplier)  # fmt: skip
    op, bias = batches.spread(site, op), _bias(site, weights, weights.shape[3])
    rows, columns = op.window(weights).output_size(x.shape[1], x.shape[2])
    site.emit(op, [site.required(0), site.required(1), bias], (1, rows, columns, weights.shape[3]))


def transpose_conv(site: Site) -> None:
    """TRANSPOSE_CONV to a constant shape: int8 and float32. Operands are that shape, weights, input and bias."""
    shape = tuple(site.known(0, "a shape").reshape(-1).tolist())
    inner = site.with_operands(
        [site.required(2), site.required(1), -1 if site.operand(3) is None else site.required(3)]
    )
    x, weights = _image(inner), _weights(inner, 4)
    scheme, stride_h, stride_w = site.options("TransposeConvOptions", "Padding", "StrideH", "StrideW")
    (code,) = site.options("TransposeConvOptions", "FusedActivationFunction")
    _positive(site, stride_h=stride_h, stride_w=stride_w)
    site.require_dtypes(inner.required(0), inner.required(1), site.result())
    if len(shape) != 4 or shape[0] != 1 or shape[3] != weights.shape[0] or not 1 <= min(shape) <= max(shape) < 1 << 16:
        site.broken(f"the shape {list(shape)}", f"[1, height, width, {weights.shape[0]}]")
    if x.shape[3] != weights.shape[3]:
        site.broken(f"{x.shape[3]} channels with weights of shape {list(weights.shape)}", "as many")
    window = Window(weights.shape[1], weights.shape[2], stride_h, stride_w, 1, 1, Padding(0, 0, 0, 0))
    cut = _padding(site, scheme, shape, window)
    op = TransposedConv2D(stride_h, stride_w, cut.top, cut.left, shape[1], shape[2], site.activation(code))
    bias = _bias(inner, weights, weights.shape[0])
    inner.emit(op, [inner.required(0), inner.required(1), bias], shape)


def fully_connected(site: Site) -> None:
    """FULLY_CONNECTED with constant weights: int8 and float32."""
    x, weights = site.type(0), _weights(site, 2)
    code, weights_format, keep_dims, asymmetric = site.options(
        "FullyConnectedOptions", "FusedActivationFunction", "WeightsFormat", "KeepNumDims", "AsymmetricQuantizeInputs"
    )
    if weights_format != 0:
        site.unsupported("shuffled weights")
    outputs, depth = weights.shape
    hybrid = x.dtype.is_float and weights.dtype is DType.INT8
    site.require_dtypes(site.required(0), site.result(), *([] if hybrid else [site.required(1)]))
    if min(x.shape, default=0) < 1 or x.elements % depth or (keep_dims and x.shape[-1] != depth):
        site.broken(f"an input of shape {list(x.shape)}", f"rows of {depth} values")
    shape = (*x.shape[:-1], outputs) if keep_dims else (x.elements // depth, outputs)
    if hybrid:
        _hybrid_fully_connected(site, weights, site.activation(code), bool(asymmetric), shape)
        return
    op = FullyConnected(site.activation(code), site.importer.fully_connected_rounding, bool(keep_dims))
    site.emit(op, [site.required(0), site.required(1), _bias(site, weights, outputs)], shape)


def _hybrid_fully_connected(site: Site, weights: TensorType, activation: Activation, asymmetric: bool,
                            shape: tuple[int, ...]) -> None:  # fmt: skip
    """int8 weights with float32 activations: for one row of inputs the same numbers as a 1x1 convolution."""
    outputs, depth = weights.shape
    quantization = weights.quantization
    if quantization is None:
        site.broken("int8 weights without a scale", "quantised weights")
    if site.type(0).elements != depth:
        site.unsupported("int8 weights with several rows of float32 inputs")
    if asymmetric or quantization.axis is not None:
        site.unsupported("int8 weights with float32 inputs, with zero points or a scale for each output")
    data = site.known(1, "weights").reshape(outputs, 1, 1, depth)
    kernel = site.importer.new_constant(site.required(1), TensorType(DType.INT8, data.shape, quantization), data)
    op = Conv2DHybrid(1, 1, 1, 1, Padding(0, 0, 0, 0), activation, asymmetric=False)
    pixel, result = TensorType(DType.FLOAT32, (1, 1, 1, depth)), TensorType(DType.FLOAT32, (1, 1, 1, outputs))
    bias = _bias(site, weights, outputs)
    steps = ((Reshape(pixel.shape), pixel, ()), (op, result, (kernel, bias)))
    site.emit_chain(steps, Reshape(shape), shape)


def _pool(make: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Site], None]:
    def pool(site: Site) -> None:
        op, shape = _pool_of(site, make)
        site.emit(op, [site.required(0)], shape)

    return pool


def l2_pool(site: Site) -> None:
    """L2_POOL_2D of float32: the root of the mean of squares."""
    x, (op, shape) = site.type(0), _pool_of(site, AveragePool2D)
    if not x.dtype.is_float:
        site.unsupported("")
    chain, pooled = site.chain(), TensorType(DType.FLOAT32, shape)
    squares = chain.add(Map(Function.SQUARE), [chain.operand], x)
    means = chain.add(replace(op, activation=Activation.NONE), [squares], pooled)
    if op.activation is Activation.NONE:
        chain.finish(Map(Function.SQRT), [means], shape)
    else:
        chain.finish(Relu(op.activation), [chain.add(Map(Function.SQRT), [means], pooled)], shape)


def _pool_of(site: Site, make: type[AveragePool2D] | type[MaxPool2D]
             ) -> tuple[AveragePool2D | MaxPool2D, tuple[int, ...]]:  # fmt: skip
    """The pool that the operator's options say, and the shape of its result."""
    x = _image(site)
    scheme, kernel_h, kernel_w, stride_h, stride_w, code = site.options(
        "Pool2DOptions", "Padding", "FilterHeight", "FilterWidth", "StrideH", "StrideW", "FusedActivationFunction"
    )
    _positive(site, filter_height=kernel_h, filter_width=kernel_w, stride_h=stride_h, stride_w=stride_w)
    site.require_dtypes(site.required(0), site.result())
    window = Window(kernel_h, kernel_w, stride_h, stride_w, 1, 1, Padding(0, 0, 0, 0))
    op = make(kernel_h, kernel_w, stride_h, stride_w, _padding(site, scheme, x.shape, window), site.activation(code))
    rows, columns = op.window().output_size(x.shape[1], x.shape[2])
    return op, (1, rows, columns, x.shape[3])


def _elementwise(make: Callable[[Activation], Add | Sub | Mul], options: str,
                 compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Site], None]:  # fmt: skip
    def elementwise(site: Site) -> None:
        a, b = site.type(0), site.type(1)
        if shapes.fold_integers(site, compute):
            return
        (code,) = site.operator.options(site.where, options, "FusedActivationFunction") or (0,)
        site.require_dtypes(site.required(0), site.required(1), site.result())
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "operands that broadcast")
        site.emit(make(site.activation(code)), [site.required(0), site.required(1)], shape)

    return elementwise


def softmax(site: Site) -> None:
    """SOFTMAX over the last axis."""
    site.require_dtypes(site.required(0), site.result())
    (beta,) = site.options("SoftmaxOptions", "Beta")
    site.emit(Softmax(float(beta)), [site.required(0)], site.type(0).shape)


def _unary(make: Callable[[], Relu | Logistic | Tanh]) -> Callable[[Site], None]:
    def unary(site: Site) -> None:
        site.require_dtypes(site.required(0), site.result())
        site.emit(make(), [site.required(0)], site.type(0).shape)

    return unary


def pad(site: Site) -> None:
    """PAD, and PADV2 where the value is real zero."""
    x = site.type(0)
    site.require_dtypes(site.required(0), site.result())
    pairs = site.known(1, "paddings")
    if pairs.shape != (len(x.shape), 2) or pairs.dtype.kind != "i":
        site.broken(f"paddings of shape {list(pairs.shape)}", f"[{len(x.shape)}, 2]")
    if pairs.min(initial=0) < 0 or pairs.max(initial=0) > 2**20:
        site.broken(f"paddings {pairs.tolist()}", "small numbers that are not negative")
    if site.operand(2) is not None and np.any(site.known(2, "a padding value") != x.zero_point):
        site.unsupported("padding with another value than zero")
    paddings = tuple((int(before), int(after)) for before, after in pairs)
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, paddings, strict=True))
    site.emit(Pad(paddings), [site.required(0)], shape)


def quantize(site: Site) -> None:
    """QUANTIZE: from float32, or from one integer quantisation to another."""
    _require_quantized(site, site.required(0), site.result())
    site.emit(Quantize(), [site.required(0)], site.type(0).shape)


def dequantize(site: Site) -> None:
    """DEQUANTIZE; constant weights (float16, or integers with any quantisation) become float32 constants."""
    raw, constant = site.raw(0), site.constant(0)
    if constant is not None and raw.dtype == "FLOAT16":
        site.fold(constant.astype(np.float32))
        return
    _require_quantized(site, site.required(0))
    quantization = site.type(0).quantization
    if constant is None or quantization is None or quantization.axis is None:
        site.emit(Dequantize(), [site.required(0)], site.type(0).shape)
        return
    along = [1] * constant.ndim
    if not 0 <= quantization.axis < constant.ndim or constant.shape[quantization.axis] != len(quantization.scales):
        site.broken(f"{len(quantization.scales)} scales for shape {list(constant.shape)}", "one for each index")
    along[quantization.axis] = -1
    scales = np.array(quantization.scales, np.float32).reshape(along)
    centred = constant.astype(np.int64) - np.array(quantization.zero_points, np.int64).reshape(along)
    site.fold(scales * centred.astype(np.float32))


def _require_quantized(site: Site, *indices: int) -> None:
    """Guard: tensors are float32, or int8, uint8 or int16 with a quantisation."""
    for index in indices:
        type_ = site.importer.type(index)
        if type_.dtype is DType.FLOAT32:
            continue
        if type_.dtype not in (DType.INT8, DType.UINT8, DType.INT16):
            site.unsupported(f"elements of type {type_.dtype.value}")
        if type_.quantization is None:
            site.broken(f"{type_.dtype.value} without scale and zero point", "a quantised tensor")


def mean(site: Site) -> None:
    """MEAN over constant axes."""
    x = site.type(0)
    site.require_dtypes(site.required(0), site.result())
    (keep_dims,) = site.options("ReducerOptions", "KeepDims")
    axes = shapes.axes_of(site, 1, len(x.shape))
    if 0 in axes and x.shape[0] != 1:
        site.unsupported("a mean over a batch")
    site.emit(Mean(axes, bool(keep_dims)), [site.required(0)], reduced_shape(x.shape, axes, bool(keep_dims)))


def concatenation(site: Site) -> None:
    """CONCATENATION of tensors with one quantisation."""
    axis, code = site.options("ConcatenationOptions", "Axis", "FusedActivationFunction")
    operands = [site.required(position) for position in range(len(site.operator.inputs))]
    if not operands:
        site.broken("no operands", "at least one")
    types = [site.importer.type(index) for index in operands]
    axis = shapes.axis_of(site, axis, len(types[0].shape))
    for type_ in types:
        if len(type_.shape) != len(types[0].shape):
            site.broken("operands of different rank", "one rank")
        if (type_.dtype, type_.quantization) != (site.result_type().dtype, site.result_type().quantization):
            site.unsupported("operands with different scales")
    shape = list(types[0].shape)
    shape[axis] = sum(type_.shape[axis] for type_ in types)
    site.emit(Concatenation(axis, site.activation(code)), list(operands), tuple(shape))


ROWS: dict[str, Callable[[Site], None]] = {
    "ADD": _elementwise(Add, "AddOptions", np.add),
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "CONCATENATION": concatenation,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEQUANTIZE": dequantize,
    "FULLY_CONNECTED": fully_connected,
    "L2_POOL_2D": l2_pool,
    "LOGISTIC": _unary(Logistic),
    "MAX_POOL_2D": _pool(MaxPool2D),
    "MEAN": mean,
    "MUL": _elementwise(Mul, "MulOptions", np.multiply),
    "PAD": pad,
    "PADV2": pad,
    "QUANTIZE": quantize,
    "RELU": _unary(lambda: Relu(Activation.RELU)),
    "RELU6": _unary(lambda: Relu(Activation.RELU6)),
    "RELU_N1_TO_1": _unary(lambda: Relu(Activation.RELU_N1_TO_1)),
    "SOFTMAX": softmax,
    "SUB": _elementwise(Sub, "SubOptions", np.subtract),
    "TANH": _unary(Tanh),
    "TRANSPOSE_CONV": transpose_conv,
    **batches.ROWS,
    **control.ROWS,
    **functions.ROWS,
    **logic.ROWS,
    **movement.ROWS,
    **products.ROWS,
    **recurrent.ROWS,
    **resampling.ROWS,
    **shapes.ROWS,
    **variables.ROWS,
}
"""Builtin operator -> the function that imports it."""
WITH_STATE = tuple(recurrent.ROWS)
"""Operators whose own variables become states of the graph."""
