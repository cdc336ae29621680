"""The ONNX importer: every operator of the table agrees with ONNX Runtime, without transposes left behind."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_networks
import pytest
from cli_runner import midge
from onnx import TensorProto, helper, numpy_helper

from midge.errors import MidgeError, ModelError, UnsupportedError
from midge.ir.graph import Node
from midge.ir.interpret import run_graph
from midge.ir.types import DType
from midge.load import load_with_orders
from midge.load.model import Model
from midge.ops.rearrange import Rearrange
from midge.reference import open_reference
from midge.reference.compare import Comparison

ort_quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime is not installed")
SHARED = Path(__file__).parents[2] / "shared" / "models" / "zoo"


def _model(path: Path) -> Model:
    graph, orders = load_with_orders(path)
    return Model(path.name, path, "", "litert", graph, orders)


def _compare(path: Path, samples: int = 3) -> Comparison:
    """Interpreter against ONNX Runtime."""
    model = _model(path)
    reference, total, rng = open_reference("onnxruntime", model), Comparison(), np.random.default_rng(3)
    for number in range(samples):
        inputs = []
        for name in model.graph.inputs:
            type_ = model.graph.type(name)
            if type_.dtype.is_float:
                inputs.append(rng.standard_normal(type_.shape).astype(np.float32))
            else:
                inputs.append(rng.integers(*type_.dtype.limits, type_.shape, type_.dtype.numpy, endpoint=True))
        total = total.add(number, run_graph(model.graph, inputs), reference.run(inputs), reference.steps)
    return total


@pytest.mark.parametrize("name", onnx_networks.NETWORKS)
def test_float_networks(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    onnx.save(onnx_networks.NETWORKS[name](), path)
    total = _compare(path)
    assert total.values > 0 and total.mismatches == 0, total
    if name in onnx_networks.WITHOUT_REARRANGE:
        assert not [node.name for node in _model(path).graph.nodes if isinstance(node.op, Rearrange)]


class _Calibration(ort_quantization.CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self._samples = iter([{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._samples, None)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["per_tensor", "per_channel"])
def test_quantized_networks(form: str, activations: str, per_channel: bool, tmp_path: Path) -> None:
    """What ONNX Runtime's own quantiser writes runs in integers, and agrees to one step of the output."""
    source, path = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(onnx_networks.to_quantize(), source)
    ort_quantization.quantize_static(
        source, path, _Calibration(), quant_format=getattr(ort_quantization.QuantFormat, form),
        activation_type=getattr(ort_quantization.QuantType, activations),
        weight_type=ort_quantization.QuantType.QInt8, per_channel=per_channel,
    )  # fmt: skip
    graph = _model(path).graph
    convolutions = [node for node in graph.nodes if node.op.name in ("conv2d", "depthwise_conv2d", "fully_connected")]
    assert len(convolutions) == 4
    assert all(graph.type(node.outputs[0]).dtype.value == "int8" for node in convolutions)
    assert _compare(path, samples=20).mismatches == 0


def test_compiled_and_run(tmp_path: Path) -> None:
    """Through the command line, on the emulated core, against ONNX Runtime."""
    path = tmp_path / "residual.onnx"
    onnx.save(onnx_networks.NETWORKS["residual"](), path)
    found = midge("verify", path, "--core", "cortex-m4", "--samples", "2", "--against", "onnxruntime", "--json")
    assert found.status == 0, found.err
    assert found.object["mismatches"] == 0 and found.object["reference"] == "onnxruntime"


def test_all_unsupported_operators_are_named(tmp_path: Path) -> None:
    m = onnx_networks.Maker(opset=22)
    y = m.op("GridSample", m.op("Conv", "x", m.random(2, 3, 1, 1)), m.random(1, 4, 4, 2))
    model = m.model((1, 3, 4, 4), [m.op("Det", m.op("Mish", y))])
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(UnsupportedError) as caught:
        load_with_orders(path)
    assert "GridSample (layer 1" in str(caught.value) and "Det (layer 3" in str(caught.value), caught.value
    assert "2 parts" in str(caught.value)


def test_malformed_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x07not a model")
    with pytest.raises(ModelError, match="no valid ONNX model"):
        load_with_orders(path)
    m = onnx_networks.Maker()
    y = m.op("Reshape", "x", m.constant([1, 7], np.int64))
    model = m.model((1, 12), [m.op("Relu", "x")])
    model.graph.output[0].name = y
    onnx.save(model, path)
    with pytest.raises(ModelError):
        load_with_orders(path)


def test_a_constant_too_large_is_refused(tmp_path: Path) -> None:
    """Forty bytes of file that ask for eight terabytes."""
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape")
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1 << 20]) for name in "xy")
    graph = helper.make_graph(nodes, "large", [x], [y], [shape])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(UnsupportedError, match=r"a constant of 1,099,511,627,776 elements"):
        load_with_orders(path)


def _in_scope() -> list[str]:
    if not SHARED.is_dir():
        return []
    with (SHARED / "MANIFEST.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["format"] == "onnx" and row["file"].startswith("models/")]
    return [row["file"] for row in rows if int(row["bytes"]) < 5_000_000]


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", _in_scope() or [pytest.param("", marks=pytest.mark.skip(reason="no ../shared/models/zoo"))]
)
def test_zoo(file: str) -> None:
    """A model imports and agrees with ONNX Runtime, or all reasons against it are named; nothing else happens."""
    try:
        model = _model(SHARED / file)
    except UnsupportedError as error:
        assert any(text in str(error) for text in ("Midge has no code for", "opset", "a constant of"))
        return
    if model.graph.total_macs < 1e8:
        assert _compare(SHARED / file, samples=1).mismatches == 0


CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "transposed_conv2d")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models/zoo")
def test_no_transposes_between_convolutions_of_the_zoo() -> None:
    """What is moved between two convolutions stays in its pixel: ShuffleNet's channels, and nothing else."""
    looked_at, shuffles = 0, 0
    for file in sorted(SHARED.rglob("*.onnx")):
        if file.stat().st_size > 5_000_000:
            continue
        try:
            graph = load_with_orders(file)[0]
        except MidgeError:
            continue
        looked_at += sum(node.op.name in CONVOLUTIONS for node in graph.nodes) > 1
        before, after = (_behind_convolutions(graph.nodes, backwards=flag) for flag in (False, True))
        for node in graph.nodes:
            if node.op.name in ("rearrange", "take") and node.name in before and node.name in after:
                assert file.name == "light_shufflenet.onnx" and isinstance(node.op, Rearrange), (file, node)
                pixels = node.op.positions() // graph.type(node.outputs[0]).shape[-1]
                assert np.array_equal(pixels, np.sort(pixels)), (file, node)
                shuffles += 1
    assert looked_at >= 30 and shuffles == 16


def _behind_convolutions(nodes: Sequence[Node], *, backwards: bool) -> set[str]:
    """Names of nodes that a convolution reaches; backwards: that reach one."""
    reached: set[str | None] = set()
    found = set()
    for node in reversed(nodes) if backwards else nodes:
        near, far = (node.outputs, node.inputs) if backwards else (node.inputs, node.outputs)
        if reached.intersection(near):
            found.add(node.name)
        if node.name in found or node.op.name in CONVOLUTIONS:
            reached.update(far)
    return found


def test_padding_of_quantised_values_is_what_the_file_says(tmp_path: Path) -> None:
    """Zeros of uint8 are not its zero point; the zero point itself is the pad operator's."""
    for value, has_pad in ((0, False), (7, True)):
        m = onnx_networks.Maker()
        scale, zero = m.constant(0.02), m.constant(7, np.uint8)
        y = m.op("QuantizeLinear", "x", scale, zero)
        y = m.op("Pad", y, m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), m.constant(value, np.uint8))
        path = tmp_path / f"pad_{value}.onnx"
        onnx.save(m.model((1, 2, 3, 4), [m.op("DequantizeLinear", y, scale, zero)]), path)
        assert _compare(path).mismatches == 0
        assert has_pad == any(node.op.name == "pad" for node in _model(path).graph.nodes)


@pytest.mark.parametrize("is_far", [False, True], ids=["one_zero_point", "far_zero_points"])
def test_weights_that_int8_has_no_room_for(is_far: bool, tmp_path: Path) -> None:
    """uint8 weights far from their zero point take 16 bits; with zero points far apart the layer is float32."""
    m = onnx_networks.Maker()
    scale, zero = m.constant(0.02), m.constant(128, np.uint8)
    weights = m.constant(m.rng.integers(0, 256, (4, 2, 3, 3)), np.uint8)
    w_scale = m.constant([0.01] * 4 if is_far else 0.01)
    w_zero = m.constant([3, 250, 128, 7] if is_far else 3, np.uint8)
    y = m.op("QLinearConv", m.op("QuantizeLinear", "x", scale, zero), scale, zero, weights, w_scale, w_zero,
             m.constant(0.1), zero)  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(m.model((1, 2, 5, 5), [m.op("DequantizeLinear", y, m.constant(0.1), zero)]), path)
    assert _compare(path).mismatches == 0
    graph = _model(path).graph
    (layer,) = (node for node in graph.nodes if node.op.name == "conv2d")
    assert graph.type(layer.inputs[1] or "").dtype is (DType.FLOAT32 if is_far else DType.INT16)


def _shaped(model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
    """The model with its output's shape, which ONNX infers of its own operators only."""
    (output,) = model.graph.output
    output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_operators_of_onnx_runtimes_own_domain(bits: int, tmp_path: Path) -> None:
    """What its quantiser writes for element types that are newer than the opset: a convolution with int4 weights."""
    m = onnx_networks.Maker(opset=13)
    own = {"domain": "com.microsoft"}
    scale, zero = m.constant(0.02), m.constant(3, np.int8)
    weights = m.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (4, 2, 3, 3))
    kind = TensorProto.INT4 if bits == 4 else TensorProto.INT8
    m.constants.append(helper.make_tensor("w", kind, weights.shape, weights.reshape(-1).tolist()))
    m.constants.append(helper.make_tensor("w_zero", kind, (), [0]))
    x = m.op("DequantizeLinear", m.op("QuantizeLinear", "x", scale, zero, **own), scale, zero, **own)
    y = m.op("Conv", x, m.op("DequantizeLinear", "w", m.constant(0.01), "w_zero", **own), pads=[1, 1, 1, 1])
    out = m.constant(0.01 * 2 ** (bits - 4)), m.constant(-5, np.int8)
    y = m.op("DequantizeLinear", m.op("QuantizeLinear", y, *out, **own), *out, **own)
    path = tmp_path / "m.onnx"
    onnx.save(_shaped(m.model((1, 2, 5, 5), [y]), (1, 4, 5, 5)), path)
    assert _compare(path).mismatches == 0
    graph = _model(path).graph
    assert [node.op.name for node in graph.nodes] == ["quantize", "conv2d", "dequantize"]


def test_quantised_images_in_another_size_beside_a_constant(tmp_path: Path) -> None:
    """The QOperator form: Resize of uint8, QLinearConcat with a constant part."""
    m = onnx_networks.Maker()
    scale, zero, other = m.constant(0.02), m.constant(130, np.uint8), m.constant(0.03)
    sizes = m.constant([1, 2, 7, 5], np.int64)
    y = m.op("Resize", m.op("QuantizeLinear", "x", scale, zero), "", "", sizes, mode="linear")
    fixed = m.constant(m.rng.integers(0, 256, (1, 1, 7, 5)), np.uint8)
    y = m.op("QLinearConcat", other, zero, y, scale, zero, fixed, scale, zero, domain="com.microsoft", axis=1)
    path = tmp_path / "m.onnx"
    onnx.save(_shaped(m.model((1, 2, 4, 3), [m.op("DequantizeLinear", y, other, zero)]), (1, 3, 7, 5)), path)
    assert _compare(path).mismatches == 0
    assert {node.op.name for node in _model(path).graph.nodes} >= {"resize_bilinear", "concatenation"}


def test_integers_where_onnx_has_floats_only(tmp_path: Path) -> None:
    m = onnx_networks.Maker()
    model = m.model((1, 2, 5, 5), [m.op("Conv", "x", m.constant(np.ones((1, 2, 3, 3)), np.uint8))], TensorProto.UINT8)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"Conv.* has unsupported type: tensor\(uint8\)"):
        load_with_orders(path)


def test_importing_midge_does_not_import_onnx() -> None:
    """`onnx` takes time to import; only .onnx files need it."""
    code = "import sys, midge; sys.exit('onnx' in sys.modules)"
    assert subprocess.run(["python", "-c", code], check=False).returncode == 0
