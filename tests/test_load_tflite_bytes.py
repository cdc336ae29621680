"""Weights and activations of other kinds than int8: uint8, int4, and int8 weights with float32 activations.

All against LiteRT's reference kernels, to the bit for integers; the networks at the end as firmware too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litert_runner import assert_equal, run_litert
from tflite_maker import Maker, Subgraph

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate
from midge.errors import ModelError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ir.types import DType
from midge.load.tflite import graph_of
from midge.ops.cases import random_inputs
from midge.ops.fixed_point import quantize_multiplier
from midge.passes import run_passes
from midge.plan import PlanOptions, plan
from midge.targets import core_board

RNG = np.random.default_rng(23)
IMAGE = (1, 5, 6, 8)
Build = Callable[[Subgraph], int]


def content_of(make: Build) -> bytes:
    maker = Maker()
    g = maker.subgraph()
    g.outputs.append(make(g))
    return maker.finish()


def checked(make: Build, samples: int = 3) -> Graph:
    """The graph of a file, which gives what LiteRT gives."""
    content = content_of(make)
    graph = graph_of(content, "m.tflite", "m")
    for seed in range(samples):
        inputs = random_inputs(graph, np.random.default_rng(seed))
        (expected,), (found,) = run_litert(content, inputs), run_graph(graph, inputs)
        assert_equal(expected, found, f"m.tflite, sample {seed}")
    return graph


def _weighted(kind: str, zero_point: int, activation: int = 0, scales: Sequence[float] = (0.0371, 0.00713, 0.117),
              bits: int = 8, dtype: Any = np.uint8) -> Build:  # fmt: skip
    """A convolution (`conv`, `depthwise`) of 7x6 pixels, or a fully connected layer (`dense`)."""

    def make(g: Subgraph) -> int:
        shape, outputs = {"conv": ((7, 3, 3, 5), 7), "depthwise": ((1, 3, 3, 10), 10), "dense": ((7, 41), 7)}[kind]
        x_zero, y_zero = (121, 100) if dtype is np.uint8 else (-7, -28)
        x_shape, y_shape = ((1, 41), (1, 7)) if kind == "dense" else ((1, 7, 6, 5), (1, 7, 6, outputs))
        x = g.input(x_shape, dtype, scale=scales[0], zero_point=x_zero)
        if bits == 4:
            weights = g.int4(RNG.integers(-8, 8, shape), scale=scales[1])
        else:
            low, high = (0, 256) if dtype is np.uint8 else (-128, 128)
            weights = g.constant(RNG.integers(low, high, shape), dtype, scale=scales[1], zero_point=zero_point)
        bias = g.constant(RNG.integers(-3000, 3000, outputs), np.int32, scale=scales[0] * scales[1])
        fields = {"Padding": 0, "StrideH": 1, "StrideW": 1, "FusedActivationFunction": activation}
        code, options = {
            "conv": ("CONV_2D", ("Conv2DOptions", fields)),
            "depthwise": ("DEPTHWISE_CONV_2D", ("DepthwiseConv2DOptions", {**fields, "DepthMultiplier": 2})),
            "dense": ("FULLY_CONNECTED", ("FullyConnectedOptions", {"FusedActivationFunction": activation})),
        }[kind]
        return g.op(code, [x, weights, bias], y_shape, dtype, options, scale=scales[2], zero_point=y_zero)

    return make


@pytest.mark.parametrize("activation", [0, 1, 3])
@pytest.mark.parametrize("zero_point", [0, 90, 128, 255])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_uint8_layers_with_weights(kind: str, zero_point: int, activation: int) -> None:
    graph = checked(_weighted(kind, zero_point, activation))
    weights = next(node.inputs[1] for node in graph.nodes if len(node.inputs) == 3)
    assert graph.type(weights or "").dtype is (DType.INT8 if zero_point == 128 else DType.INT16)
    assert [graph.type(name).dtype for name in (*graph.inputs, *graph.outputs)] == [DType.UINT8] * 2


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_uint8_accumulators_are_scaled_to_the_bit(kind: str) -> None:
    """Accumulators next to where results step, far above what 24 bits tell apart: biases alone, weights are zero."""
    compared = 0
    for _ in range(20):
        x_scale, w_scale = (float(np.float32(scale)) for scale in RNG.uniform(0.001, 0.01, 2))
        y_scale = float(np.float32(x_scale * w_scale * 2**23 * RNG.uniform(0.8, 1.2)))
        product = float(np.float32(x_scale) * np.float32(w_scale))
        if quantize_multiplier(product / y_scale) == quantize_multiplier(x_scale * w_scale / y_scale):
            continue  # float32 and float64 make no difference
        steps = np.round((np.arange(1, 250) + 0.5) * y_scale / (x_scale * w_scale)).astype(np.int64)
        bias = np.unique(np.concatenate([steps + near for near in range(-3, 4)]))
        compared += _compare_biases(kind, (x_scale, w_scale, y_scale), bias[bias < 2**31])
    assert compared > 5000


def _compare_biases(kind: str, scales: tuple[float, float, float], bias: np.ndarray) -> int:
    def make(g: Subgraph) -> int:
        shape = (1, 1) if kind == "dense" else (1, 1, 1, 1)
        x = g.input(shape, np.uint8, scale=scales[0], zero_point=0)
        size = {"conv": (bias.size, 1, 1, 1), "depthwise": (1, 1, 1, bias.size), "dense": (bias.size, 1)}[kind]
        weights = g.constant(np.zeros(size), np.uint8, scale=scales[1], zero_point=0)
        addends = g.constant(bias, np.int32, scale=scales[0] * scales[1])
        fields = {"Padding": 1, "StrideH": 1, "StrideW": 1}
        code, options = {
            "conv": ("CONV_2D", ("Conv2DOptions", fields)),
            "depthwise": ("DEPTHWISE_CONV_2D", ("DepthwiseConv2DOptions", {**fields, "DepthMultiplier": bias.size})),
            "dense": ("FULLY_CONNECTED", ("FullyConnectedOptions", {})),
        }[kind]
        y_shape = (*shape[:-1], bias.size)
        return g.op(code, [x, weights, addends], y_shape, np.uint8, options, scale=scales[2], zero_point=0)

    checked(make, samples=1)
    return bias.size


@pytest.mark.parametrize("zero_point", [90, 128])
def test_transposed_convolutions_of_uint8(zero_point: int) -> None:
    def make(g: Subgraph) -> int:
        weights = g.constant(RNG.integers(0, 256, (3, 3, 3, 5)), np.uint8, scale=0.01, zero_point=zero_point)
        x = g.input((1, 4, 4, 5), np.uint8, scale=0.05, zero_point=100)
        options = ("TransposeConvOptions", {"Padding": 0, "StrideH": 2, "StrideW": 2})
        return g.op("TRANSPOSE_CONV", [g.constant([1, 8, 8, 3], np.int32), weights, x], (1, 8, 8, 3), np.uint8, options,
                    scale=0.2, zero_point=120)  # fmt: skip

    checked(make)


def test_int8_dense_weights_may_have_a_zero_point() -> None:
    checked(_weighted("dense", 5, dtype=np.int8))


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_int4_weights(kind: str) -> None:
    graph = checked(_weighted(kind, 0, scales=(0.05, 0.1, 0.3), bits=4, dtype=np.int8))
    weights = graph.constant(graph.nodes[0].inputs[1])
    assert weights is not None and weights.dtype == np.int8 and (weights.min(), weights.max()) == (-8, 7)


def test_int4_constants_that_are_too_short() -> None:
    maker = Maker()
    g = maker.subgraph()
    short = g.int4(np.zeros(9, np.int8), scale=0.1)
    g.tensors[short] = ((1, 12), *g.tensors[short][1:])
    g.outputs.append(g.op("DEQUANTIZE", [short], (1, 12)))
    with pytest.raises(ModelError, match=r"5 bytes of data; expected 6 for int4\[1, 12\]"):
        graph_of(maker.finish(), "m.tflite", "m")


def _unary(code: str, options: Any = None, shape: Sequence[int] = IMAGE, result: Sequence[int] | None = None,
           x: tuple[float, int] = (0.03, 121), y: tuple[float, int] | None = None, operand: Any = None,
           dtype: Any = np.uint8) -> Build:  # fmt: skip
    def make(g: Subgraph) -> int:
        operands = [g.input(shape, dtype, scale=x[0], zero_point=x[1])]
        operands += [] if operand is None else [g.constant(operand, np.int32)]
        scale, zero_point = y or x
        return g.op(code, operands, result or shape, dtype, options, scale=scale, zero_point=zero_point)

    return make


def _binary(code: str, options: str, activation: int = 0, other: Sequence[int] = IMAGE) -> Build:
    def make(g: Subgraph) -> int:
        a = g.input(IMAGE, np.uint8, scale=0.03, zero_point=121)
        b = g.input(other, np.uint8, scale=0.07, zero_point=7)
        fields = (options, {"FusedActivationFunction": activation})
        return g.op(code, [a, b], IMAGE, np.uint8, fields, scale=0.09, zero_point=100)

    return make


def _pool(code: str, size: int, stride: int, padding: int, result: Sequence[int]) -> Build:
    fields = {"Padding": padding, "FilterHeight": size, "FilterWidth": size, "StrideH": stride, "StrideW": stride}
    return _unary(code, ("Pool2DOptions", fields), result=result)


def _concatenation(kinds: Sequence[tuple[float, int]]) -> Build:
    """Of two images; the last kind is the result's."""

    def make(g: Subgraph) -> int:
        parts = [g.input(IMAGE, np.uint8, scale=scale, zero_point=zero) for scale, zero in kinds[:-1]]
        scale, zero = kinds[-1]
        options = ("ConcatenationOptions", {"Axis": 3})
        return g.op("CONCATENATION", parts, (1, 5, 6, 16), np.uint8, options, scale=scale, zero_point=zero)

    return make


UINT8: dict[str, Build] = {
    "add": _binary("ADD", "AddOptions"),
    "add_relu_row": _binary("ADD", "AddOptions", 1, (1, 1, 1, 8)),
    "sub": _binary("SUB", "SubOptions"),
    "mul": _binary("MUL", "MulOptions", 3),
    "average_2": _pool("AVERAGE_POOL_2D", 2, 2, 1, (1, 2, 3, 8)),
    "average_3_same": _pool("AVERAGE_POOL_2D", 3, 1, 0, IMAGE),
    "average_3_valid": _pool("AVERAGE_POOL_2D", 3, 1, 1, (1, 3, 4, 8)),
    "max_2_same": _pool("MAX_POOL_2D", 2, 2, 0, (1, 3, 3, 8)),
    "softmax": _unary("SOFTMAX", ("SoftmaxOptions", {"Beta": 1.0}), (1, 12), x=(0.1, 128), y=(1 / 256, 0)),
    "logistic": _unary("LOGISTIC", x=(0.05, 128), y=(1 / 256, 0)),
    "tanh": _unary("TANH", x=(0.05, 128), y=(1 / 128, 128)),
    "relu": _unary("RELU", y=(0.05, 0)),
    "relu6": _unary("RELU6", y=(0.0235, 0)),
    "leaky_relu": _unary("LEAKY_RELU", ("LeakyReluOptions", {"Alpha": 0.1}), y=(0.04, 50)),
    "hard_swish": _unary("HARD_SWISH", y=(0.04, 50)),
    "mean": _unary("MEAN", ("ReducerOptions", {"KeepDims": True}), result=(1, 1, 1, 8), y=(0.02, 80), operand=[1, 2]),
    "largest": _unary("REDUCE_MAX", ("ReducerOptions", {"KeepDims": True}), result=(1, 1, 1, 8), operand=[1, 2]),
    "reshape": _unary("RESHAPE", ("ReshapeOptions", {}), result=(1, 240), operand=[1, 240]),
    "pad": _unary("PAD", ("PadOptions", {}), result=(1, 7, 8, 8), operand=[[0, 0], [1, 1], [2, 0], [0, 0]]),
    "bilinear": _unary("RESIZE_BILINEAR", ("ResizeBilinearOptions", {}), result=(1, 10, 9, 8), operand=[10, 9]),
    "bilinear_half": _unary("RESIZE_BILINEAR", ("ResizeBilinearOptions", {"HalfPixelCenters": True}),
                            result=(1, 10, 9, 8), operand=[10, 9]),
    "nearest": _unary("RESIZE_NEAREST_NEIGHBOR", ("ResizeNearestNeighborOptions", {}), result=(1, 10, 12, 8),
                      operand=[10, 12]),
    "length_1": _unary("L2_NORMALIZATION", ("L2NormOptions", {}), (1, 12), y=(1 / 128, 128)),
    "transpose": _unary("TRANSPOSE", ("TransposeOptions", {}), result=(1, 6, 5, 8), operand=[0, 2, 1, 3]),
    "depth_to_space": _unary("DEPTH_TO_SPACE", ("DepthToSpaceOptions", {"BlockSize": 2}), result=(1, 10, 12, 2)),
    "concatenation": _concatenation([(0.03, 121)] * 3),
    "concatenation_scaled": _concatenation([(0.03, 121), (0.0501, 3), (0.0607, 20)]),
    "concatenation_one_scaled": _concatenation([(0.0607, 20), (0.0501, 3), (0.0607, 20)]),
}  # fmt: skip


@pytest.mark.parametrize("make", UINT8.values(), ids=list(UINT8))
def test_uint8_layers(make: Build) -> None:
    checked(make)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("code", ["ABS", "HARD_SWISH", "LOG", "RSQRT", "SQRT"])
def test_functions_of_int8_on_every_byte(code: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_any = code in ("ABS", "HARD_SWISH")
    scale = float(10 ** rng.uniform(-2.5, -0.5))
    y_scale = scale * rng.uniform(0.3, 1.5) if code == "HARD_SWISH" else float(10 ** rng.uniform(-2.5, -0.5))
    x, y = (scale, int(rng.integers(-128, 128)) if of_any else -128), (y_scale, int(rng.integers(-128, 128)))
    content = content_of(_unary(code, None, (1, 256), x=x, y=y, dtype=np.int8))
    values = np.arange(-128, 128).astype(np.int8)[None]
    if code == "RSQRT":
        values = np.maximum(values, -127)
    (expected,), (found,) = (
        run_litert(content, [values]),
        run_graph(graph_of(content, "m.tflite", "m"), [values]),
    )
    assert_equal(expected, found, f"{code} {x} {y}")


def _hybrid(kind: str, *, per_channel: bool, asymmetric: bool = False, rows: int = 1) -> Build:
    def make(g: Subgraph) -> int:
        outputs = 10 if kind == "depthwise" else 30
        scales = list(RNG.uniform(0.01, 0.03, outputs)) if per_channel else 0.02
        bias = g.constant(RNG.standard_normal(outputs))
        if kind == "depthwise":
            weights = g.constant(RNG.integers(-127, 128, (1, 3, 3, outputs)), np.int8, scale=scales)
            fields = {"Padding": 0, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 2}
            x = g.input((1, 7, 6, 5))
            options = ("DepthwiseConv2DOptions", fields)
            return g.op("DEPTHWISE_CONV_2D", [x, weights, bias], (1, 7, 6, outputs), options=options)
        weights = g.constant(RNG.integers(-127, 128, (outputs, 40)), np.int8, scale=scales)
        options = ("FullyConnectedOptions", {"AsymmetricQuantizeInputs": asymmetric})
        return g.op("FULLY_CONNECTED", [g.input((rows, 40)), weights, bias], (rows, outputs), options=options)

    return make


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_int8_weights_of_dense_layers_of_floats(per_channel: bool, asymmetric: bool, rows: int) -> None:
    checked(_hybrid("dense", per_channel=per_channel, asymmetric=asymmetric, rows=rows))


def test_int8_weights_of_depthwise_convolutions_of_floats() -> None:
    checked(_hybrid("depthwise", per_channel=True))


def _network(g: Subgraph) -> int:
    """A few layers of uint8: convolution, pool with halves, depthwise, sum, resize, dense, softmax."""
    rng = np.random.default_rng(3)
    kind = {"scale": 0.04, "zero_point": 118}

    def constant(shape: Sequence[int], zero_point: int) -> int:
        return g.constant(rng.integers(0, 256, shape), np.uint8, scale=0.01, zero_point=zero_point)

    def bias(size: int, scale: float) -> int:
        return g.constant(rng.integers(-500, 500, size), np.int32, scale=scale)

    x = g.input((1, 8, 8, 3), np.uint8, scale=0.02, zero_point=128)
    fields = {"Padding": 0, "StrideH": 1, "StrideW": 1}
    y = g.op("CONV_2D", [x, constant((8, 3, 3, 3), 131), bias(8, 0.0002)], (1, 8, 8, 8), np.uint8,
             ("Conv2DOptions", {**fields, "FusedActivationFunction": 1}), **kind)  # fmt: skip
    pool = {"Padding": 1, "FilterHeight": 2, "FilterWidth": 2, "StrideH": 2, "StrideW": 2}
    y = g.op("AVERAGE_POOL_2D", [y], (1, 4, 4, 8), np.uint8, ("Pool2DOptions", pool), **kind)
    z = g.op("DEPTHWISE_CONV_2D", [y, constant((1, 3, 3, 8), 77), bias(8, 0.0004)], (1, 4, 4, 8), np.uint8,
             ("DepthwiseConv2DOptions", {**fields, "DepthMultiplier": 1}), **kind)  # fmt: skip
    y = g.op("ADD", [y, z], (1, 4, 4, 8), np.uint8, ("AddOptions", {}), scale=0.07, zero_point=99)
    y = g.op("RESIZE_BILINEAR", [y, g.constant([5, 7], np.int32)], (1, 5, 7, 8), np.uint8,
             ("ResizeBilinearOptions", {"HalfPixelCenters": True}), scale=0.07, zero_point=99)  # fmt: skip
    y = g.op("FULLY_CONNECTED", [y, constant((10, 280), 140), bias(10, 0.0007)], (1, 10), np.uint8,
             ("FullyConnectedOptions", {}), scale=0.2, zero_point=130)  # fmt: skip
    return g.op("SOFTMAX", [y], (1, 10), np.uint8, ("SoftmaxOptions", {"Beta": 1.0}), scale=1 / 256, zero_point=0)


def _mixed(g: Subgraph) -> int:
    """int4 weights of a convolution of int8, then int8 ones of two layers of float32 side by side.

    Not one behind the other: a second one would quantise the last bits in which LiteRT's first one differs.
    """
    rng = np.random.default_rng(3)
    x = g.input((1, 6, 6, 5), np.int8, scale=0.05, zero_point=3)
    weights, bias = g.int4(rng.integers(-8, 8, (8, 3, 3, 5)), scale=0.1), g.constant(rng.integers(-9, 9, 8), np.int32)
    y = g.op("CONV_2D", [x, weights, bias], (1, 4, 4, 8), np.int8,
             ("Conv2DOptions", {"Padding": 1, "StrideH": 1, "StrideW": 1}), scale=0.3, zero_point=-4)  # fmt: skip
    y = g.op("DEQUANTIZE", [y], (1, 4, 4, 8))
    depthwise = g.constant(rng.integers(-127, 128, (1, 3, 3, 8)), np.int8, scale=list(rng.uniform(0.01, 0.03, 8)))
    z = g.op("DEPTHWISE_CONV_2D", [y, depthwise, g.constant(rng.standard_normal(8))], (1, 4, 4, 8), options=(
        "DepthwiseConv2DOptions", {"Padding": 0, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}))  # fmt: skip
    dense = g.constant(rng.integers(-127, 128, (8, 8)), np.int8, scale=list(rng.uniform(0.01, 0.03, 8)))
    y = g.op("FULLY_CONNECTED", [y, dense, g.constant(rng.standard_normal(8))], (16, 8),
             options=("FullyConnectedOptions", {}))  # fmt: skip
    y = g.op("RESHAPE", [y, g.constant([1, 4, 4, 8], np.int32)], (1, 4, 4, 8), options=("ReshapeOptions", {}))
    return g.op("ADD", [y, z], (1, 4, 4, 8), options=("AddOptions", {}))


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("make", [_network, _mixed], ids=["uint8", "int4_and_float"])
def test_networks_as_firmware(make: Build, core: str, tmp_path: Path) -> None:
    board, graph = core_board(core), checked(make)
    inputs = random_inputs(graph, np.random.default_rng(5))
    sources = emit(plan(run_passes(graph, board), board, PlanOptions()), prefix="m", command="", model_sha256="")
    (found,) = emulate(build(sources, board, tmp_path), sources, board, inputs).outputs
    (expected,) = run_graph(graph, inputs)
    assert_equal(expected, found.reshape(expected.shape), core)
