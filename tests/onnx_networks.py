"""Small .onnx models for tests, as a table of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Maker:
    """Collects nodes and constants; every method returns the name of what it made."""

    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape))

    def model(
        self, shape: Sequence[int | str], outputs: Sequence[str], dtype: int = TensorProto.FLOAT
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "test", [helper.make_tensor_value_info("x", dtype, list(shape))],
            [helper.make_empty_tensor_value_info(name) for name in outputs], self.constants,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
        kinds = {info.name: info for info in model.graph.value_info}
        for info in model.graph.output:
            if info.name in kinds:
                info.CopyFrom(kinds[info.name])
        return model


def _conv(shape: tuple[int, ...], weights: tuple[int, ...], **attributes: Any) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        m = Maker()
        return m.model(shape, [m.op("Conv", "x", m.random(*weights), m.random(weights[0]), **attributes)])

    return make


def _one(shape: tuple[int, ...], kind: str, **attributes: Any) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        m = Maker(attributes.pop("opset", 17))
        return m.model(shape, [m.op(kind, "x", **attributes)])

    return make


def _batch_norm(m: Maker, x: str, channels: int) -> str:
    spread = m.constant(m.rng.uniform(0.5, 2.0, channels))
    return m.op("BatchNormalization", x, m.random(channels), m.random(channels), m.random(channels), spread)


def _residual() -> onnx.ModelProto:
    m = Maker()
    a = m.op("Relu", _batch_norm(m, m.op("Conv", "x", m.random(8, 3, 3, 3), pads=[1, 1, 1, 1]), 8))
    b = _batch_norm(m, m.op("Conv", a, m.random(8, 1, 3, 3), pads=[1, 1, 1, 1], group=8), 8)
    y = m.op("Clip", m.op("Add", a, b), m.constant(0.0), m.constant(6.0))
    y = m.op("Flatten", m.op("GlobalAveragePool", y))
    return m.model(("batch", 3, 6, 7), [m.op("Softmax", m.op("Gemm", y, m.random(5, 8), m.random(5), transB=1))])


def _flatten_to_gemm() -> onnx.ModelProto:
    m = Maker()
    y = m.op("MaxPool", m.op("Conv", "x", m.random(4, 2, 3, 3)), kernel_shape=[2, 2], strides=[2, 2])
    y = m.op("Gemm", m.op("Flatten", y), m.random(24, 5), m.random(5), alpha=0.5, beta=2.0)
    return m.model((1, 2, 8, 6), [m.op("MatMul", y, m.random(5, 3))])


def _channels_last_export() -> onnx.ModelProto:
    """As tf2onnx writes it: transposes round a convolution of a channels-last input."""
    m = Maker()
    y = m.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = m.op("Relu", m.op("Conv", y, m.random(4, 3, 3, 3), m.random(4)))
    y = m.op("Transpose", y, perm=[0, 2, 3, 1])
    return m.model((1, 6, 5, 3), [m.op("Reshape", y, m.constant([1, -1], np.int64))])


def _channel_shuffle() -> onnx.ModelProto:
    m = Maker()
    y = m.op("Conv", "x", m.random(8, 4, 1, 1))
    y = m.op("Reshape", y, m.constant([1, 2, 4, 5, 6], np.int64))
    y = m.op("Reshape", m.op("Transpose", y, perm=[0, 2, 1, 3, 4]), m.constant([1, 8, 5, 6], np.int64))
    return m.model((1, 4, 5, 6), [m.op("Conv", y, m.random(3, 8, 3, 3))])


def _split_and_concat() -> onnx.ModelProto:
    m = Maker()
    y = m.op("Conv", "x", m.random(6, 2, 3, 3))
    a, b = m.op("Split", y, m.constant([2, 4], np.int64), outputs=2, axis=1)
    y = m.op("Concat", m.op("Relu", b), m.op("Sigmoid", a), m.random(1, 1, 4, 4), axis=1)
    return m.model((1, 2, 6, 6), [m.op("Conv", y, m.random(3, 7, 1, 1))])


def _slices() -> onnx.ModelProto:
    m = Maker()
    starts, ends, axes, steps = (m.constant(numbers, np.int64) for numbers in ([1, 0], [5, 6], [2, 3], [2, 3]))
    y = m.op("Slice", m.op("Conv", "x", m.random(4, 2, 1, 1)), starts, ends, axes, steps)
    return m.model((1, 2, 6, 6), [m.op("Tanh", m.op("Gather", y, m.constant([2, 0], np.int64), axis=1))])


def _shape_arithmetic() -> onnx.ModelProto:
    """A flatten as PyTorch used to export it: the new shape computed from the old."""
    m = Maker()
    y = m.op("Conv", "x", m.random(4, 2, 3, 3))
    first = m.op("Gather", m.op("Shape", y), m.constant(0, np.int64))
    shape = m.op("Concat", m.op("Unsqueeze", first, m.constant([0], np.int64)), m.constant([-1], np.int64), axis=0)
    return m.model((1, 2, 5, 4), [m.op("Gemm", m.op("Reshape", y, shape), m.random(24, 3))])


def _signal() -> onnx.ModelProto:
    """One dimension: time."""
    m = Maker()
    y = m.op("Relu", m.op("Conv", "x", m.random(8, 2, 5), m.random(8), strides=[2], pads=[2, 2], dilations=[1]))
    y = m.op("AveragePool", m.op("Conv", y, m.random(8, 1, 3), group=8), kernel_shape=[2], strides=[2])
    return m.model((1, 2, 33), [m.op("Gemm", m.op("Flatten", y), m.random(56, 4))])


def _arithmetic() -> onnx.ModelProto:
    m = Maker()
    y = m.op("Div", m.op("Sub", "x", m.random(3, 1, 1)), m.constant([2.0]))
    y = m.op("Sum", y, m.op("Mul", y, m.random(1, 3, 4, 1)), m.op("Pow", y, m.constant(2.0)))
    return m.model((1, 3, 4, 5), [m.op("ReduceMean", y, axes=[2, 3], keepdims=0)])


def _two_outputs() -> onnx.ModelProto:
    m = Maker()
    y = m.op("Conv", "x", m.random(4, 3, 1, 1))
    return m.model((1, 3, 4, 5), [y, m.op("Softmax", y, axis=1)])


def _conv_transpose(shape: tuple[int, ...], weights: tuple[int, ...], **attributes: Any) -> Callable[[], Any]:
    def make() -> onnx.ModelProto:
        m = Maker()
        bias = m.random(weights[1] * attributes.get("group", 1))
        return m.model(shape, [m.op("ConvTranspose", "x", m.random(*weights), bias, **attributes)])

    return make


def _resize(shape: tuple[int, ...], numbers: Sequence[float], *, sized: bool = False, opset: int = 17, **attributes: Any
            ) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    def make() -> onnx.ModelProto:
        m = Maker(opset)
        given = ["", m.constant(numbers, np.int64)] if sized else [m.constant(numbers)]
        return m.model(shape, [m.op("Resize", "x", "", *given, **attributes)])

    return make


def _upsample(mode: str) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        m = Maker(9)
        return m.model((1, 3, 4, 5), [m.op("Upsample", "x", m.constant([1, 1, 2, 2]), mode=mode)])

    return make


def _products() -> onnx.ModelProto:
    """Attention by hand: two products of what both varies, one by Einsum, and a reduction for opset 17."""
    m = Maker()
    q, k = m.op("MatMul", "x", m.random(6, 4)), m.op("MatMul", "x", m.random(6, 4))
    weights = m.op("Softmax", m.op("MatMul", q, m.op("Transpose", k, perm=[0, 2, 1])), axis=-1)
    y = m.op("Einsum", weights, "x", equation="bij,bjk->bik")
    return m.model((2, 5, 6), [y, m.op("ReduceLogSumExp", y, axes=[1]), m.op("Einsum", "x", q, equation="bik,bil->kl")])


def _function() -> onnx.ModelProto:
    """A function of the file, called twice, one of whose operators has a definition by others."""
    m = Maker(18)
    m.nodes = [helper.make_node("Twice", ["x"], ["a"], domain="local"), helper.make_node("Twice", ["a"], ["y"],
                                                                                         domain="local")]  # fmt: skip
    graph = helper.make_graph(m.nodes, "test", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 3])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 3])])  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    body = [helper.make_node("Add", ["v", "v"], ["d"]),
            helper.make_node("MeanVarianceNormalization", ["d"], ["w"], axes=[1])]  # fmt: skip
    function = helper.make_function("local", "Twice", ["v"], ["w"], body, opsets[:1])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[function])


def _dynamic_quantization() -> onnx.ModelProto:
    """What ONNX Runtime's dynamic quantiser makes: scales at run time, products of integers."""
    m = Maker()
    y, scale, zero = m.op("DynamicQuantizeLinear", "x", outputs=3)
    weights = m.constant(m.rng.integers(-128, 128, (4, 3, 3, 3)), np.int8)
    sums = m.op("ConvInteger", y, weights, zero, pads=[1, 1, 1, 1])
    real = m.op("Mul", m.op("Cast", sums, to=TensorProto.FLOAT), m.op("Mul", scale, m.constant(0.01)))
    rows = m.op("Flatten", real)
    y, scale, zero = m.op("DynamicQuantizeLinear", rows, outputs=3)
    weights = m.constant(m.rng.integers(0, 256, (80, 5)), np.uint8)
    sums = m.op("MatMulInteger", y, weights, zero, m.constant(100, np.uint8))
    return m.model((1, 3, 4, 5), [m.op("Mul", m.op("Cast", sums, to=TensorProto.FLOAT), scale)])


def _choices() -> onnx.ModelProto:
    """Comparisons, choices and indices: bool and int64 results."""
    m = Maker()
    large = m.op("And", m.op("Greater", "x", m.constant(0.1)), m.op("Not", m.op("LessOrEqual", "x", m.random(3, 1, 1))))
    kept = m.op("Where", large, "x", m.op("Neg", "x"))
    return m.model((1, 3, 4, 5), [large, kept, m.op("ArgMax", kept, axis=1), m.op("ArgMin", kept, axis=3, keepdims=0)])


def _pads() -> onnx.ModelProto:
    """Pads by a number and by the tensor itself, on channels last."""
    m = Maker()
    y = m.op("Conv", "x", m.random(4, 3, 1, 1))
    pads = m.constant([0, 0, 1, 2, 0, 0, 2, 0], np.int64)
    y = m.op("MaxPool", m.op("Pad", y, pads, m.constant(-1e30)), kernel_shape=[3, 3])
    y = m.op("Pad", m.op("Pad", y, pads, mode="reflect"), pads, mode="edge")
    return m.model((1, 3, 5, 6), [m.op("Conv", y, m.random(2, 4, 2, 2))])


def _recurrent(kind: str, gates: int, *, peepholes: bool = False, **attributes: Any) -> Callable[[], onnx.ModelProto]:
    """[T, N, inputs] with states that vary (the input's own), both ways."""

    def make() -> onnx.ModelProto:
        m, units, ways = Maker(), 4, 2
        weights = [m.random(ways, gates * units, 4), m.random(ways, gates * units, units),
                   m.random(ways, 2 * gates * units)]  # fmt: skip
        state = m.op("Slice", "x", m.constant([0], np.int64), m.constant([2], np.int64), m.constant([0], np.int64))
        more = ["", state, state, m.random(ways, 3 * units)] if peepholes else ["", state]
        y = m.op(kind, "x", *weights, *more, outputs=2, hidden_size=units, direction="bidirectional", **attributes)
        return m.model((5, 3, 4), y)

    return make


_LINEAR = [
    (f"resize_linear_{label}", sizes, {"mode": "linear", "coordinate_transformation_mode": mode})
    for label, mode in (("half", "half_pixel"), ("torch", "pytorch_half_pixel"), ("aligned", "align_corners"),
                        ("asymmetric", "asymmetric"))
    for sizes in ([1, 3, 10, 7],)
]  # fmt: skip


def _powers() -> onnx.ModelProto:
    m = Maker()
    return m.model((1, 9), [m.op("Pow", m.op("Abs", "x"), m.random(1, 9)), m.op("Pow", "x", m.constant(5.0))])


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "products": _products,
    "function": _function,
    "dynamic_quantization": _dynamic_quantization,
    "choices": _choices,
    "pads": _pads,
    "lstm": _recurrent("LSTM", 4, peepholes=True),
    "lstm_coupled": _recurrent("LSTM", 4, input_forget=1, activations=["HardSigmoid", "Softsign", "Relu"] * 2,
                               activation_alpha=[0.3, 0.25], activation_beta=[0.4, 0.6]),
    "gru": _recurrent("GRU", 3),
    "gru_linear": _recurrent("GRU", 3, linear_before_reset=1),
    "rnn": _recurrent("RNN", 1, activations=["Relu", "Tanh"]),
    "lrn": _one((1, 7, 3, 4), "LRN", size=5, alpha=0.3, bias=1.5),
    "powers": _powers,
    **{name: _resize((1, 3, 4, 5), sizes, sized=True, **attributes) for name, sizes, attributes in _LINEAR},
    "resize_linear_scaled": _resize((1, 3, 4, 5), [1, 1, 2.5, 2], mode="linear"),
    "resize_linear_smaller": _resize((1, 3, 8, 9), [1, 3, 3, 4], sized=True, mode="linear"),
    "resize_linear_axes": _resize((1, 3, 4, 5), [2, 3], opset=18, axes=[2, 3], mode="linear"),
    "resize_linear_signal": _resize((1, 3, 9), [1, 3, 14], sized=True, mode="linear"),
    "resize_nearest": _resize((1, 3, 4, 5), [1, 1, 2, 3]),
    "upsample_attribute": _one((1, 3, 4, 5), "Upsample", opset=7, scales=[1.0, 1.0, 2.0, 3.0], mode="nearest"),
    "upsample": _upsample("nearest"),
    "upsample_linear": _upsample("linear"),
    "lp_pool": _one((1, 3, 5, 6), "LpPool", kernel_shape=[2, 3], pads=[1, 0, 0, 1]),
    "lp_pool_1": _one((1, 3, 5, 6), "LpPool", kernel_shape=[2, 2], strides=[2, 2], p=1),
    "global_lp_pool": _one((1, 3, 5, 6), "GlobalLpPool"),
    "lp_normalization": _one((1, 3, 5), "LpNormalization", axis=1),
    **{f"resize_nearest_{mode}": _resize((1, 3, 5, 7), [1, 3, 8, 4], sized=True, nearest_mode=mode)
       for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")},
    **{f"resize_nearest_{mode}": _resize((1, 3, 5, 7), [1, 1, 1.7, 0.6], coordinate_transformation_mode=mode)
       for mode in ("asymmetric", "align_corners", "pytorch_half_pixel")},
    "conv": _conv((1, 3, 6, 5), (4, 3, 3, 3)),
    "conv_same_lower": _conv((1, 3, 6, 5), (4, 3, 2, 2), auto_pad="SAME_LOWER", strides=[2, 1]),
    "conv_same_upper": _conv((1, 3, 7, 5), (4, 3, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv_dilated": _conv((1, 2, 9, 9), (3, 2, 3, 3), dilations=[2, 3], pads=[1, 2, 0, 3]),
    "conv_grouped": _conv((1, 4, 5, 5), (6, 2, 3, 3), group=2),
    "conv_depthwise_multiplier": _conv((1, 3, 5, 5), (6, 1, 3, 3), group=3, pads=[1, 1, 1, 1]),
    "conv_transpose": _conv_transpose((1, 3, 5, 4), (3, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    "conv_transpose_more": _conv_transpose(
        (1, 3, 5, 4), (3, 2, 3, 2), strides=[3, 2], pads=[1, 0, 0, 1], output_padding=[1, 1]
    ),
    "conv_transpose_grouped": _conv_transpose((1, 4, 5, 4), (4, 3, 4, 4), strides=[2, 2], group=2),
    "conv_transpose_same_upper": _conv_transpose((1, 3, 5, 4), (3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv_transpose_same_lower": _conv_transpose((1, 3, 5, 4), (3, 4, 4, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
    "conv_transpose_shaped": _conv_transpose((1, 3, 5, 4), (3, 4, 3, 3), strides=[2, 2], output_shape=[10, 8]),
    "conv_transpose_signal": _conv_transpose((1, 3, 9), (3, 4, 8), strides=[4], pads=[2, 2]),
    "max_pool_ceil": _one((1, 3, 7, 6), "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max_pool_padded": _one((1, 3, 7, 6), "MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "average_pool": _one((1, 3, 7, 6), "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "average_pool_zeros": _one(
        (1, 3, 7, 6), "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "softmax_old": _one((1, 3, 2, 4), "Softmax", axis=1, opset=11),
    "softmax_channels": _one((1, 3, 2, 4), "Softmax", axis=1),
    "softmax_columns": _one((1, 3, 2, 4), "Softmax", axis=2),
    "transpose": _one((1, 3, 2, 4), "Transpose", perm=[0, 2, 1, 3]),
    "depth_to_space": _one((1, 8, 2, 3), "DepthToSpace", blocksize=2),
    "depth_to_space_crd": _one((1, 8, 2, 3), "DepthToSpace", blocksize=2, mode="CRD"),
    "space_to_depth": _one((1, 2, 4, 6), "SpaceToDepth", blocksize=2),
    "residual": _residual,
    "flatten_to_gemm": _flatten_to_gemm,
    "channels_last_export": _channels_last_export,
    "channel_shuffle": _channel_shuffle,
    "split_and_concat": _split_and_concat,
    "slices": _slices,
    "shape_arithmetic": _shape_arithmetic,
    "signal": _signal,
    "arithmetic": _arithmetic,
    "two_outputs": _two_outputs,
}  # fmt: skip
WITHOUT_REARRANGE = {name for name in NETWORKS if name.startswith(("conv", "max", "average"))} | {
    "residual", "flatten_to_gemm", "channels_last_export", "shape_arithmetic", "signal", "arithmetic", "two_outputs",
}  # fmt: skip
"""Networks that need no change of order between their operators."""


def to_quantize() -> onnx.ModelProto:
    """A float network for ONNX Runtime's quantiser."""
    m = Maker()
    y = m.op("Relu", m.op("Conv", "x", m.random(8, 3, 3, 3), m.random(8), pads=[1, 1, 1, 1]))
    z = m.op("Relu", m.op("Conv", y, m.random(8, 1, 3, 3), m.random(8), pads=[1, 1, 1, 1], group=8))
    y = m.op("MaxPool", m.op("Add", y, z), kernel_shape=[2, 2], strides=[2, 2])
    y = m.op("Flatten", m.op("Conv", y, m.random(4, 8, 1, 1), m.random(4)))
    return m.model((1, 3, 8, 8), [m.op("Gemm", y, m.random(5, 64), m.random(5), transB=1)])
