"""What the operators' tables leave out: values read twice or through reshapes, batches, other ranks, extreme values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from host_program import run_on_host
from kernel_trials import FLOAT_TOLERANCE, portable

from midge.emit import emit
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ir.types import DType, TensorType
from midge.kernels import kernel_files
from midge.ops.add import Add
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.binary import Binary
from midge.ops.binary import Function as Pair
from midge.ops.cases import floats, quantized, random_inputs
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.copy import Copy
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.logistic import Logistic
from midge.ops.map import Function, Map
from midge.ops.mean import Mean
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.softmax import Softmax
from midge.ops.tanh import Tanh
from midge.plan import PlanOptions, plan
from midge.targets import core_board

BOARD = portable(core_board("cortex-m3"))
NONE = Activation.NONE
Y_SCALE = 0.1


class Network:
    """Grows a graph from one input; names of values go in and come out."""

    def __init__(self, type_: TensorType) -> None:
        self.builder = GraphBuilder("edges")
        self.builder.inputs.append(self.builder.value("x", type_))

    def layer(self, op: Op, names: list[str], type_: TensorType) -> str:
        y = self.builder.value(self.builder.unique(op.name), type_)
        self.builder.node(op, [*names], [y])
        return y

    def input(self, name: str, type_: TensorType) -> str:
        self.builder.inputs.append(self.builder.value(name, type_))
        return name

    def like(self, op: Op, names: list[str], shape: tuple[int, ...]) -> str:
        """A layer whose result has the input's type but for the shape."""
        type_ = self.builder.values[names[0]].type
        return self.layer(op, names, TensorType(type_.dtype, shape, type_.quantization))

    def build(self, *outputs: str) -> Graph:
        self.builder.outputs += outputs
        return self.builder.build()


def network(shape: tuple[int, ...], dtype: DType = DType.INT8) -> tuple[Network, str]:
    """A network whose input has been copied, so that it may be a ring."""
    made = Network(floats(shape) if dtype is DType.FLOAT32 else quantized(shape, 0.05, 3, dtype))
    return made, made.like(Copy(), ["x"], shape)


def same_twice() -> Graph:
    n, x = network((1, 4, 3, 2))
    y = n.layer(Add(NONE), [x, x], quantized((1, 4, 3, 2), Y_SCALE, -5))
    return n.build(n.layer(Mul(NONE), [y, y], quantized((1, 4, 3, 2), 4.0, 0)))


def row_and_whole() -> Graph:
    """One operand row by row, the other a reshaped view of the same tensor, as one array."""
    n, x = network((1, 4, 3, 2))
    view = n.like(Reshape((4, 3, 2)), [x], (4, 3, 2))
    return n.build(n.layer(Add(NONE), [x, view], quantized((1, 4, 3, 2), Y_SCALE, -5)))


def more_rows_in_view() -> Graph:
    n, x = network((1, 3, 4, 8))
    view = n.like(Reshape((1, 12, 8)), [x], (1, 12, 8))
    y = n.layer(Softmax(1.0), [view], quantized((1, 12, 8), 1 / 256, -128))
    return n.build(n.like(Reshape((1, 6, 16)), [y], (1, 6, 16)))


def other_pixels_in_padded_view() -> Graph:
    n, x = network((1, 5, 8, 1))
    view = n.like(Reshape((1, 5, 2, 4)), [x], (1, 5, 2, 4))
    return n.build(_depthwise(n, view, 4), _depthwise(n, x, 1))


def _depthwise(n: Network, x: str, channels: int) -> str:
    data = (np.arange(9 * channels, dtype=np.int8) * 5).reshape(1, 3, 3, channels)
    weights = n.builder.value(n.builder.unique("w"), quantized(data.shape, 0.01, 0), data)
    op = DepthwiseConv2D(1, 1, 1, 1, Padding(1, 1, 1, 1), NONE, Rounding.DOUBLE, depth_multiplier=1)
    y = n.builder.value(n.builder.unique("y"), quantized(n.builder.values[x].type.shape, 0.5, 2))
    n.builder.node(op, [x, weights, None], [y])
    return y


def window_in_padding() -> Graph:
    """The first window holds padding only, so that it comes before any row."""
    n, x = network((1, 4, 3, 2))
    data = (np.arange(18, dtype=np.int8) * 5).reshape(1, 3, 3, 2)
    weights = n.builder.value("w", quantized(data.shape, 0.01, 0), data)
    op = DepthwiseConv2D(2, 1, 1, 1, Padding(4, 0, 1, 1), NONE, Rounding.DOUBLE, depth_multiplier=1)
    y = n.builder.value("y", quantized((1, 3, 3, 2), 0.5, 2))
    n.builder.node(op, [x, weights, None], [y])
    return n.build(y)


def rows_concatenated_with_themselves() -> Graph:
    n, x = network((1, 3, 2, 2))
    twice = n.like(Concatenation(1, NONE), [x, x], (1, 6, 2, 2))
    return n.build(n.like(Concatenation(3, NONE), [twice, twice], (1, 6, 2, 4)))


def batch(op: Op, shape: tuple[int, ...], y_shape: tuple[int, ...], others: tuple[tuple[int, ...], ...] = (),
          dtype: DType = DType.INT8) -> Callable[[], Graph]:  # fmt: skip
    """One operator on shapes that are not [1, height, width, channels]."""

    def make() -> Graph:
        n, x = network(shape, dtype)
        names = [x]
        for index, other in enumerate(others):
            type_ = TensorType(dtype, other, n.builder.values["x"].type.quantization)
            names.append(n.like(Copy(), [n.input(f"o{index}", type_)], other))
        return n.build(n.like(op, names, y_shape))

    return make


def softmax_of(channels: int) -> Callable[[], Graph]:
    def make() -> Graph:
        n, x = network((1, 2, channels))
        return n.build(n.layer(Softmax(0.02), [x], quantized((1, 2, channels), 1 / 256, -128)))

    return make


def hybrid(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], padding: Padding,
           *, asymmetric: bool) -> Callable[[], Graph]:  # fmt: skip
    def make() -> Graph:
        n, x = network((1, 9, 8, 2), DType.FLOAT32)
        op = Conv2DHybrid(*stride, *dilation, padding, NONE, asymmetric)
        data = np.random.default_rng(1).integers(-127, 128, (3, *kernel, 2), np.int8)
        weights = n.builder.value("w", quantized(data.shape, 0.01, 0), data)
        rows, columns = op.window(n.builder.values["w"].type).output_size(9, 8)
        y = n.builder.value("y", floats((1, rows, columns, 3)))
        n.builder.node(op, [x, weights, None], [y])
        return n.build(y)

    return make


GRAPHS: dict[str, Callable[[], Graph]] = {
    "same_twice": same_twice,
    "row_and_whole": row_and_whole,
    "more_rows_in_view": more_rows_in_view,
    "other_pixels_in_padded_view": other_pixels_in_padded_view,
    "window_in_padding": window_in_padding,
    "rows_concatenated_with_themselves": rows_concatenated_with_themselves,
    "batch_relu": batch(Relu(Activation.RELU6), (3, 4, 5), (3, 4, 5)),
    "batch_mean_rows": batch(Mean((1,), False), (3, 4, 5), (3, 5)),
    "batch_mean_outer": batch(Mean((0,), False), (3, 4, 5), (4, 5)),
    "mean_everything": batch(Mean((0, 1, 2, 3), False), (1, 4, 5, 3), ()),
    "mean_rows_and_channels": batch(Mean((1, 3), False), (1, 4, 5, 3), (1, 5)),
    "mean_first_axes": batch(Mean((0, 2), False), (1, 4, 5, 3), (4, 3)),
    "mean_float_rows": batch(Mean((1,), False), (1, 4, 5, 3), (1, 5, 3), dtype=DType.FLOAT32),
    "mean_rank_5": batch(Mean((1, 3), True), (1, 3, 4, 5, 2), (1, 1, 4, 1, 2)),
    "outer_product": batch(Mul(NONE), (3, 1), (3, 4), ((1, 4),), DType.FLOAT32),
    "batch_and_rows": batch(Add(NONE), (2, 3, 4), (2, 3, 4), ((1, 3, 4),)),
    "lower_rank_with_rows": batch(Add(NONE), (1, 3, 4, 2), (1, 3, 4, 2), ((3, 1, 2),)),
    "middle_broadcast": batch(Add(NONE), (1, 3, 4, 5, 2), (1, 3, 4, 5, 2), ((1, 3, 1, 5, 1),)),
    "concatenate_batches": batch(Concatenation(0, NONE), (1, 3, 4), (3, 3, 4), ((1, 3, 4), (1, 3, 4))),
    "concatenate_rank_3_channels": batch(Concatenation(2, NONE), (1, 3, 4), (1, 3, 6), ((1, 3, 2),)),
    "pad_batch": batch(Pad(((1, 0), (0, 2), (1, 1))), (1, 3, 4), (2, 5, 6)),
    "pad_rank_5": batch(Pad(((0, 0), (1, 0), (0, 1), (2, 0), (0, 1))), (1, 2, 3, 2, 2), (1, 3, 4, 4, 3)),
    "softmax_255": softmax_of(255),
    "softmax_256": softmax_of(256),
    "softmax_1000": softmax_of(1000),
    "hybrid_wide_stride": hybrid((2, 1), (3, 3), (1, 1), Padding(1, 1, 0, 0), asymmetric=True),
    "hybrid_dilated_stride": hybrid((2, 2), (2, 1), (3, 2), Padding(2, 2, 1, 1), asymmetric=False),
    "hybrid_deep_padding": hybrid((3, 3), (1, 1), (1, 1), Padding(5, 4, 3, 3), asymmetric=True),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_shapes(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    check(graph, [random_inputs(graph, np.random.default_rng(seed)) for seed in (1, 2)], tmp_path)


def check(graph: Graph, samples: list[tuple[np.ndarray, ...]], folder: Path) -> None:
    """The emitted program gives what the references give."""
    sources = emit(plan(graph, BOARD, PlanOptions()), prefix="edges", command="", model_sha256="")
    for sample, found in zip(samples, run_on_host(sources, samples, folder), strict=True):
        for array, expected in zip(found, run_graph(graph, sample), strict=True):
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(array, expected, rtol=FLOAT_TOLERANCE, atol=1e-30)
            else:
                np.testing.assert_array_equal(array, expected)


EXTREMES = np.array([-np.inf, -3e38, -104.5, -103.9, -88.0, -1e-3, -1e-38, -0.0, 0.0, 1e-40, 0.6249, 0.6251, 9.0, 88.8,
                     200.0, np.inf], np.float32).reshape(1, 16)  # fmt: skip


@pytest.mark.parametrize("op", [Logistic(), Tanh()], ids=lambda op: op.name)
def test_extreme_floats(op: Op, tmp_path: Path) -> None:
    n = Network(floats((1, 16)))
    check(n.build(n.layer(op, ["x"], floats((1, 16)))), [(EXTREMES,)], tmp_path)


BASES = (-np.inf, -3.0, -1.0, -0.5, -0.0, 0.0, 1e-3, 0.7, 1.0, 2.5, 40.0, np.inf)
EXPONENTS = (-3.0, -2.0, -0.5, 0.0, 0.3, 1.0, 2.0, 3.0, 7.0, 11.5, 1e9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_powers_of_all_signs(tmp_path: Path) -> None:
    """Whole exponents, odd and even, of negative numbers; fractions of them have no power; zeros and infinities."""
    shape = (len(BASES), len(EXPONENTS))
    n = Network(floats(shape))
    n.input("n", floats(shape))
    graph = n.build(n.layer(Binary(Pair.POWER, NONE), ["x", "n"], floats(shape)))
    x, exponents = np.meshgrid(np.array(BASES, np.float32), np.array(EXPONENTS, np.float32), indexing="ij")
    check(graph, [(np.ascontiguousarray(x), np.ascontiguousarray(exponents))], tmp_path)


def test_error_function_near_zero(tmp_path: Path) -> None:
    n = Network(floats((1, 64)))
    graph = n.build(n.layer(Map(Function.ERF), ["x"], floats((1, 64))))
    check(graph, [(np.linspace(-0.3, 0.3, 64, dtype=np.float32).reshape(1, 64),)], tmp_path)


def test_softmax_of_large_floats(tmp_path: Path) -> None:
    n = Network(floats((1, 3)))
    graph = n.build(n.layer(Softmax(1.0), ["x"], floats((1, 3))))
    check(graph, [(np.array([[1e4, 1e4 - 5, -1e4]], np.float32),), (np.zeros((1, 3), np.float32),)], tmp_path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_quantize_extreme_floats(tmp_path: Path) -> None:
    """Halves go away from zero; what is out of range saturates, whatever its size; NaN is no undefined behaviour."""
    n = Network(floats((1, 16)))
    graph = n.build(n.layer(Quantize(), ["x"], quantized((1, 16), 0.5, -3)))
    halves = (np.arange(16, dtype=np.float32) - 8).reshape(1, 16) * np.float32(0.25)
    check(graph, [(EXTREMES,), (halves,), (np.nextafter(halves, np.float32(0)),)], tmp_path)
    sources = emit(plan(graph, BOARD, PlanOptions()), prefix="nan", command="", model_sha256="")
    run_on_host(sources, [(np.full((1, 16), np.nan, np.float32),)], tmp_path)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_hybrid_convolution_of_zeros_and_one_sign(asymmetric: bool, tmp_path: Path) -> None:
    graph = hybrid((3, 3), (1, 1), (1, 1), Padding(1, 1, 1, 1), asymmetric=asymmetric)()
    ramp = np.linspace(0.1, 3.0, 144, dtype=np.float32).reshape(1, 9, 8, 2)
    check(graph, [(np.zeros_like(ramp),), (ramp,), (-ramp,), (ramp * np.float32(1e-30),)], tmp_path)


def test_softmax_refuses_sums_past_32_bits() -> None:
    graph = softmax_of(4096)()
    node = graph.nodes[-1]
    reasons = [kernel.refuse(node, graph, BOARD.core) for kernel in kernel_files()["softmax", "portable"]]
    assert reasons[0] == "more than 4095 channels: the sum can leave 32 bits"
