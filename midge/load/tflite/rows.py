"""How each .tflite operator becomes nodes of the graph: one row per operator in `ROWS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.tflite import (
    batches,
    concatenation,
    control,
    functions,
    logic,
    movement,
    padding,
    products,
    recurrent,
    resampling,
    shapes,
    variables,
    weighted,
)
from midge.load.tflite.site import Site
from midge.load.tflite.unsigned import on_bytes
from midge.load.tflite.weighted import image_of, padding_of, require_positive
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Padding
from midge.ops.dequantize import Dequantize
from midge.ops.logistic import Logistic
from midge.ops.map import Function, Map
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean, reduced_shape
from midge.ops.mul import Mul
from midge.ops.quantize import Quantize
from midge.ops.relu import Relu
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh
from midge.ops.windows import Window


def _pool(make: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Site], None]:
    def pool(site: Site) -> None:
        op, shape = _pool_of(site, make)
        can_be_halves = make is AveragePool2D and (op.kernel_h * op.kernel_w % 2 == 0 or any(astuple(op.padding)))
        if can_be_halves and site.raw(0).is_unsigned:  # bytes round up, int8 away from zero
            on_bytes(site, op, shape)
            return
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
    x = image_of(site)
    scheme, kernel_h, kernel_w, stride_h, stride_w, code = site.options(
        "Pool2DOptions", "Padding", "FilterHeight", "FilterWidth", "StrideH", "StrideW", "FusedActivationFunction"
    )
    require_positive(site, filter_height=kernel_h, filter_width=kernel_w, stride_h=stride_h, stride_w=stride_w)
    site.require_dtypes(site.required(0), site.result(), int16=True)
    window = Window(kernel_h, kernel_w, stride_h, stride_w, 1, 1, Padding(0, 0, 0, 0))
    op = make(kernel_h, kernel_w, stride_h, stride_w, padding_of(site, scheme, x.shape, window), site.activation(code))
    rows, columns = op.window().output_size(x.shape[1], x.shape[2])
    return op, (1, rows, columns, x.shape[3])


def _elementwise(make: Callable[[Activation], Add | Sub | Mul], options: str,
                 compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Site], None]:  # fmt: skip
    def elementwise(site: Site) -> None:
        a, b = site.type(0), site.type(1)
        if shapes.fold_integers(site, compute):
            return
        (code,) = site.operator.options(site.where, options, "FusedActivationFunction") or (0,)
        site.require_dtypes(site.required(0), site.required(1), site.result(), int16=True)
        if options != "MulOptions" and a.dtype is DType.INT16:
            _refuse_powers_of_two(site, options)
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "operands that broadcast")
        site.emit(make(site.activation(code)), [site.required(0), site.required(1)], shape)

    return elementwise


def _refuse_powers_of_two(site: Site, options: str) -> None:
    """Guard of int16 sums: an old form shifts where all scales are powers of two, and does not round as others do."""
    (by_powers,) = site.operator.options(site.where, options, "PotScaleInt16") or (True,)
    types = (site.type(0), site.type(1), site.result_type())
    scales = [type_.quantization.scale for type_ in types if type_.quantization is not None]
    if by_powers and all(math.frexp(scale)[0] == 0.5 for scale in scales):
        site.unsupported("int16 with scales that are powers of two, without pot_scale_int16 = false")


def softmax(site: Site) -> None:
    """SOFTMAX over the last axis."""
    from_bytes = site.type(0).dtype is DType.INT8 and site.result_type().dtype is DType.INT16
    site.require_dtypes(site.required(0), *([] if from_bytes else [site.result()]), int16=True)
    (beta,) = site.options("SoftmaxOptions", "Beta")
    site.emit(Softmax(float(beta)), [site.required(0)], site.type(0).shape)


def _unary(make: Callable[[], Relu | Logistic | Tanh]) -> Callable[[Site], None]:
    def unary(site: Site) -> None:
        site.require_dtypes(site.required(0), site.result(), int16=True)
        site.emit(make(), [site.required(0)], site.type(0).shape)

    return unary


def quantize(site: Site) -> None:
    """QUANTIZE: from float32, or from one integer quantisation to another."""
    _require_quantized(site, site.required(0), site.result(), int32=True)
    if site.type(0).dtype.is_float and site.result_type().dtype is DType.INT32:
        site.unsupported("float32 to int32")
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


def _require_quantized(site: Site, *indices: int, int32: bool = False) -> None:
    """Guard: tensors are float32, or int8, uint8, int16 or (`int32`) int32 with a quantisation."""
    integers = (DType.INT8, DType.UINT8, DType.INT16, *([DType.INT32] if int32 else []))
    for index in indices:
        type_ = site.importer.type(index)
        if type_.dtype is DType.FLOAT32:
            continue
        if type_.dtype not in integers:
            site.unsupported(f"elements of type {type_.dtype.value}")
        if type_.quantization is None:
            site.broken(f"{type_.dtype.value} without scale and zero point", "a quantised tensor")


def mean(site: Site) -> None:
    """MEAN over constant axes."""
    x = site.type(0)
    site.require_dtypes(site.required(0), site.result(), int16=True)
    (keep_dims,) = site.options("ReducerOptions", "KeepDims")
    axes = shapes.axes_of(site, 1, len(x.shape))
    site.emit(Mean(axes, bool(keep_dims)), [site.required(0)], reduced_shape(x.shape, axes, bool(keep_dims)))


ROWS: dict[str, Callable[[Site], None]] = {
    "ADD": _elementwise(Add, "AddOptions", np.add),
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "DEQUANTIZE": dequantize,
    "L2_POOL_2D": l2_pool,
    "LOGISTIC": _unary(Logistic),
    "MAX_POOL_2D": _pool(MaxPool2D),
    "MEAN": mean,
    "MUL": _elementwise(Mul, "MulOptions", np.multiply),
    "QUANTIZE": quantize,
    "RELU": _unary(lambda: Relu(Activation.RELU)),
    "RELU6": _unary(lambda: Relu(Activation.RELU6)),
    "RELU_N1_TO_1": _unary(lambda: Relu(Activation.RELU_N1_TO_1)),
    "SOFTMAX": softmax,
    "SUB": _elementwise(Sub, "SubOptions", np.subtract),
    "TANH": _unary(Tanh),
    **batches.ROWS,
    **concatenation.ROWS,
    **control.ROWS,
    **functions.ROWS,
    **logic.ROWS,
    **movement.ROWS,
    **padding.ROWS,
    **products.ROWS,
    **recurrent.ROWS,
    **resampling.ROWS,
    **shapes.ROWS,
    **variables.ROWS,
    **weighted.ROWS,
}
"""Builtin operator -> the function that imports it."""
WITH_STATE = tuple(recurrent.ROWS)
"""Operators whose own variables become states of the graph."""
