"""PyTorch and Keras: graphs agree with their framework, and one network is one graph, whoever wrote it."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import midge
from midge.errors import ModelError, UnsupportedError, UsageError
from midge.ir.interpret import run_graph
from midge.load.keras import hdf5

torch = pytest.importorskip("torch", reason="torch is not installed")
os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras", reason="keras is not installed")

import framework_networks as networks  # noqa: E402
import h5py  # noqa: E402
import keras  # noqa: E402
from keras import layers  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared" / "models" / "mlperf-tiny"


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Run(nn.Module):
    """A function of tensors as a module, with layers of its own."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *xs: Any) -> Any:
        return self.function(*self.parts, *xs)


IMAGE, SIGNAL, ROW = (1, 4, 8, 6), (1, 4, 9), (1, 12)
TORCH: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, 1, dilation=2), SIGNAL),
    "conv2d groups": (lambda: nn.Conv2d(4, 8, 3, padding="same", groups=4), IMAGE),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 6, 8, 4, 2, bias=False), SIGNAL),
    "conv-norm-relu6": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)), IMAGE),
    "norm alone": (lambda: nn.BatchNorm2d(4), IMAGE),
    "linear of rank 3": (lambda: nn.Linear(9, 5), SIGNAL),
    "layer norm": (lambda: nn.LayerNorm(12), ROW),
    "pools": (lambda: Run(lambda x: F.avg_pool2d(F.max_pool2d(x, 3, 2, 1), 2, ceil_mode=True)), IMAGE),
    "adaptive": (lambda: Run(lambda x: F.adaptive_avg_pool2d(x, (4, 3)).mean((2, 3))), IMAGE),
    "in place on a view": (lambda: Run(lambda x: _in_place(x)), IMAGE),
    "split, cat, flip": (lambda: Run(lambda x: torch.cat([*x.chunk(2, 1)[::-1], x.flip(3)], 1)), IMAGE),
    "slices": (lambda: Run(lambda x: x[:, 1:, ::2, -1].transpose(1, 2)), IMAGE),
    "upsample": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "upsample bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "upsample aligned": (lambda: nn.UpsamplingBilinear2d((7, 11)), IMAGE),
    "interpolate": (lambda: Run(lambda x: F.interpolate(x, (5, 9), mode="bilinear")), IMAGE),
    "interpolate linear": (lambda: nn.Upsample(scale_factor=1.5, mode="linear"), (1, 4, 8)),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "pad": (lambda: nn.ZeroPad2d((1, 2, 0, 3)), IMAGE),
    "arithmetic": (lambda: Run(lambda x: (1 - x) * 3 / torch.add(x.abs(), 2, alpha=2) - x.pow(2).sum(1, True)), IMAGE),
    "lstm, two layers, both ways": (lambda: Run(lambda p, x: p(x)[0], nn.LSTM(9, 5, 2, bidirectional=True)), (6, 1, 9)),
    "gru": (lambda: Run(lambda p, x: p(x)[1], nn.GRU(9, 5, batch_first=True)), (1, 6, 9)),
    "open batch": (lambda: nn.Conv2d(4, 2, 1), IMAGE),
    "choices": (lambda: Run(lambda x: torch.where((x > 0.1) & (x <= 0.7) | ~(x < -0.5), x, x * 0.1)), IMAGE),
    "comparisons": (lambda: Run(lambda x: (x >= 0.2).float() + 2 * (x.round() == 0).float() - (x.round() != 1).float()
                                + (x > x.mean()).float()), IMAGE),
    "masked": (lambda: Run(lambda x: torch.where(x.isnan(), 1.0, x).masked_fill((x > 0).logical_xor(x > 0.3), -1.0)),
               IMAGE),
    "index of the largest": (lambda: Run(lambda x: x.argmax(1) + x.argmin(1)), IMAGE),
    "index of the largest of all": (lambda: Run(lambda x: x.argmax()), IMAGE),
    "largest and where": (lambda: Run(lambda x: torch.cat([x.max(1, True)[0], x.min(1, True)[1].float()], 1)), IMAGE),
    "largest of two, and of all": (lambda: Run(lambda x: torch.max(x, x.flip(3)) - x.max() + x.min()), IMAGE),
    **{name: (lambda make=make: make(), IMAGE) for name, make in {
        "relu": nn.ReLU, "hardtanh": nn.Hardtanh, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid,
        "silu": nn.SiLU, "gelu": nn.GELU, "leaky relu": nn.LeakyReLU, "prelu": lambda: nn.PReLU(4), "elu": nn.ELU,
        "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus, "mish": nn.Mish,
        "softmax": lambda: nn.Softmax(1), "log softmax": lambda: nn.LogSoftmax(1), "dropout": nn.Dropout,
    }.items() if name != "dropout"},
}  # fmt: skip


def _in_place(x: Any) -> Any:
    y = x * 2
    y[:, :2].add_(1.0)  # changes y as well
    return y.relu_() + y


def _perturb(module: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.running_mean, -1.0, 1.0)
    return module


@pytest.mark.parametrize("name", TORCH)
def test_torch_module(name: str) -> None:
    make, shape = TORCH[name]
    module = _perturb(make())
    was = module.training
    if name == "open batch":
        module = torch.export.export(module.eval(), (torch.zeros(3, *shape[1:]),),
                                     dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))  # fmt: skip
    found = midge.verify_host(module, 3, against="torch", example_inputs=(torch.zeros(shape),))
    assert found.mismatches == 0, found.max_rel_diff
    assert found.values > 0 and getattr(module, "training", was) == was


def test_exported_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(IMAGE),)), path)
    found = midge.compile(path, core="cortex-m4").verify(2, against="torch")
    assert (found.values, found.mismatches) == (6, 0)


def test_unsupported_operators_are_all_named() -> None:
    module = Run(lambda x: torch.erfinv(torch.logcumsumexp(x, 1)).cumsum(1))
    with pytest.raises(UnsupportedError, match=r"3 parts .*logcumsumexp.*erfinv.*cumsum"):
        midge.load(module, (torch.zeros(ROW),))


def test_module_without_inputs() -> None:
    with pytest.raises(UsageError, match="without example inputs"):
        midge.load(nn.ReLU())


@pytest.mark.parametrize("suffix", [".pt2", ".keras", ".h5"])
def test_damaged_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(ModelError, match=r"Export the model again|Save the model again"):
        midge.load(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambdas_of_a_file_are_not_run(tmp_path: Path, suffix: str) -> None:
    path, proof = tmp_path / f"net{suffix}", tmp_path / "proof"
    code = layers.Lambda(eval(f"lambda x: (__import__('os').makedirs({str(proof)!r}, exist_ok=True), x)[1]"))
    keras.Sequential([keras.Input((4,)), code]).save(path)
    proof.rmdir()
    with pytest.raises(ModelError):
        midge.load(path)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_number_of_units_that_takes_gigabytes(tmp_path: Path, suffix: str) -> None:
    """It is refused before anything is allocated."""
    path = tmp_path / f"net{suffix}"
    keras.Sequential([keras.Input((8,)), layers.Dense(40_961)]).save(path)
    midge.load(path)
    wrong = b"900000000"
    if suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in files.items():
                archive.writestr(name, part.replace(b"40961", wrong) if name == "config.json" else part)
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = str(file.attrs["model_config"]).replace("40961", wrong.decode())
    with pytest.raises(ModelError, match=r"layers with 8,100,000,000 weights"):
        midge.load(path)


def test_keras_2_depthwise_file() -> None:
    """Its depthwise layers name a group, which Keras 3 does not take."""
    if not SHARED.exists():
        pytest.skip("no test material")
    found = midge.verify_host(SHARED / "str_ww_ref_model.h5", 2, against="keras")
    assert found.mismatches == 0 and found.values == 6


class _Code:
    """A pickle that runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("place", ["weights", "sample_inputs"])
def test_code_in_a_file_is_not_run(tmp_path: Path, place: str) -> None:
    """Where torch.export.load would unpickle whatever a .pt2 file holds."""
    path, proof = tmp_path / "net.pt2", tmp_path / "proof"
    torch.export.save(torch.export.export(nn.Linear(4, 2).eval(), (torch.zeros(1, 4),)), path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    code = pickle.dumps(_Code(proof))
    for name, part in files.items():
        if place == "weights" and name.endswith("weights_config.json"):
            files[name] = part.replace(b'"use_pickle": false', b'"use_pickle": true')
        if f"/{place}/" in name and not name.endswith(".json"):
            files[name] = code
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in files.items():
            archive.writestr(name, part)
    with pytest.raises(ModelError):
        midge.load(path)
    assert not proof.exists()


KERAS: dict[str, tuple[Callable[[], list[Any]], tuple[int, ...]]] = {
    "conv1d": (
        lambda: [layers.Conv1D(6, 3, padding="causal", dilation_rate=2), layers.ReLU(negative_slope=0.1)],
        (9, 4)),
    "conv2d": (lambda: [layers.Conv2D(8, 3, 2, "same", groups=2, use_bias=False), layers.BatchNormalization()],
                (8, 7, 4)),
    "depthwise": (lambda: [layers.DepthwiseConv2D((3, 2), depth_multiplier=2, activation="relu6")], (8, 7, 4)),
    "depthwise1d": (lambda: [layers.DepthwiseConv1D(3, padding="same"), layers.LeakyReLU()], (8, 4)),
    "separable": (lambda: [layers.SeparableConv2D(5, 3), layers.SeparableConv2D(3, 2, activation="silu")], (8, 7, 4)),
    "transposed": (lambda: [layers.Conv2DTranspose(5, 3, 2, "same", activation="relu")], (4, 5, 3)),
    "transposed, even": (lambda: [layers.Conv2DTranspose(5, 4, 2, "same"), layers.Conv2DTranspose(2, 2, 3),
                                   layers.Conv2DTranspose(3, 3, 2, "same", output_padding=0)], (4, 5, 3)),
    "transposed1d": (lambda: [layers.Conv1DTranspose(5, 8, 4, "same"), layers.Conv1DTranspose(2, 3, 2)], (5, 3)),
    "pools": (lambda: [layers.MaxPooling2D(3, 2, "same"), layers.AveragePooling2D(2, 2, "same"), layers.Flatten()],
                (9, 7, 4)),
    "global": (lambda: [layers.GlobalMaxPooling2D(keepdims=True), layers.GlobalAveragePooling2D()], (8, 7, 4)),
    "shapes": (lambda: [layers.ZeroPadding2D((1, 2)), layers.Permute((2, 1, 3)), layers.Reshape((-1, 4))], (5, 3, 4)),
    "scales": (lambda: [layers.Rescaling(1 / 255, -0.5), layers.Normalization(mean=[0.1, 0.2], variance=[1.0, 4.0])],
                (5, 2)),
    "upsampling": (lambda: [layers.UpSampling2D((2, 3)), layers.Dropout(0.5), layers.Softmax()], (3, 4, 2)),
    "bilinear": (lambda: [layers.UpSampling2D(2, interpolation="bilinear"), layers.Resizing(5, 7)], (3, 4, 2)),
    "dense of rank 3": (lambda: [layers.Dense(5, activation="gelu"), layers.LayerNormalization()], (4, 6)),
    "lstm and gru": (lambda: [layers.LSTM(5, return_sequences=True), layers.GRU(4), layers.Activation("tanh")], (6, 3)),
    "gru, reset before": (lambda: [layers.GRU(4, reset_after=False, go_backwards=True)], (6, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", KERAS)
def test_keras_model(name: str, tmp_path: Path) -> None:
    make, shape = KERAS[name]
    model = keras.Sequential([keras.Input(shape), *make()])
    rng = np.random.default_rng(5)
    model.set_weights([np.abs(w) + rng.uniform(0, 0.2, w.shape) if "variance" in v.path else w + 0.1 * rng.normal(
        size=w.shape) for v, w in zip(model.weights, model.get_weights(), strict=True)])  # fmt: skip
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        found = midge.verify_host(source, 3, against="keras")
        assert found.mismatches == 0 and found.values > 0, found.max_rel_diff


K = keras.ops
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda x: 1.0 - (x + 2.0) * 0.5 / (3.0 - x),
    "an array": lambda x: x * np.array([1, 2, 3], np.float32) + x,
    "functions": lambda x: K.exp(-K.abs(x)) + K.square(x) * K.rsqrt(K.maximum(x, 0.5)) + x**2,
    "activations": lambda x: K.relu(x) + K.sigmoid(x) + K.silu(x) + K.gelu(x) + K.leaky_relu(x, 0.3) + K.elu(x, 0.7),
    "choices": lambda x: K.where(K.logical_and(x > 0.1, x <= 0.7), x, K.clip(x, -0.5, 0.25)),
    "comparisons": lambda x: (
        K.cast(K.floor(x) != 0.0, "float32") + K.cast(x >= K.mean(x, axis=-1, keepdims=True), "float32")
    ),
    "index of the largest": lambda x: K.argmax(x, axis=-1),
    "reductions": lambda x: K.concatenate([K.mean(x, (1, 2)), K.max(x, (1, 2)), K.sum(x, axis=(1, 2))], axis=1),
    "shapes": lambda x: K.expand_dims(K.squeeze(K.reshape(K.transpose(x, (0, 2, 1, 3)), (-1, 1, 60)), 1), 2),
    "brackets": lambda x: x[:, 1:3, ::2, 0] + x[..., 1:3, :3, -1],
    "softmax": lambda x: K.softmax(x, axis=-1) + K.log_softmax(x, axis=-1),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_keras_operations(name: str) -> None:
    """Functions without a layer: every operand counts, numbers and arrays too."""
    x = keras.Input((4, 5, 3))
    model = keras.Model(x, OPERATIONS[name](x))
    found = midge.verify_host(model, 3, against="keras")
    assert found.mismatches == 0 and found.values > 0, found.max_rel_diff


@pytest.mark.parametrize("operation", [lambda x: K.mean(x), lambda x: K.sum(x, 0), lambda x: x[0:1, :], K.erfinv])
def test_keras_operations_that_are_refused(operation: Callable[[Any], Any]) -> None:
    x = keras.Input((4, 5, 3))
    with pytest.raises(UnsupportedError, match=r"keras\.ops\."):
        midge.load(keras.Model(x, operation(x)))


def test_keras_layers_without_records_are_all_named() -> None:
    x = keras.Input((6, 6, 3))
    model = keras.Model(x, layers.UnitNormalization()(layers.Resizing(3, 3, "bicubic")(x)))
    with pytest.raises(UnsupportedError, match=r"2 parts .*keras\.Resizing.*keras\.UnitNormalization"):
        midge.load(model)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_hdf5_that_has_no_end_is_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What damaged files do to the library, and a good file that is read as before."""
    path = tmp_path / f"model.{suffix}"
    keras.Sequential([keras.Input((4,)), layers.Dense(3)]).save(path)
    assert midge.load(path).inputs
    monkeypatch.setattr(hdf5, "_VISIT", "while True: pass")
    monkeypatch.setattr(hdf5, "_SECONDS", 0.2)
    with pytest.raises(ModelError, match="not read to its end"):
        midge.load(path)


@pytest.mark.skipif(not SHARED.exists(), reason="the MLPerf Tiny models are not beside the repository")
def test_keras_2_file() -> None:
    found = midge.verify_host(SHARED / "pretrainedResnet.h5", 2, against="keras")
    assert (found.values, found.mismatches) == (20, 0)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_one_network_is_one_graph(name: str, tmp_path: Path) -> None:
    """Written in PyTorch and in Keras, and exported to ONNX: the same values, and cycles within 2 %."""
    pytest.importorskip("onnxscript", reason="onnxscript, which torch.onnx needs, is not installed")
    module, model, example = networks.make(name)
    torch.onnx.export(module, (example,), tmp_path / "net.onnx", verbose=False)
    graphs = [midge.load(module, (example,)), midge.load(model), midge.load(tmp_path / "net.onnx")]
    shape, rng = graphs[0].type(graphs[0].inputs[0]).shape, np.random.default_rng(6)
    samples = [(rng.normal(size=shape).astype(np.float32),) for _ in range(4)]
    values = [run_graph(graph, samples[0])[0] for graph in graphs]
    for other in values[1:]:
        np.testing.assert_allclose(other.reshape(-1), values[0].reshape(-1), rtol=1e-5, atol=1e-5 * values[0].max())
    cycles = [midge.compile(midge.quantize(graph, samples).model, core="cortex-m4").run().cycles for graph in graphs]
    assert max(cycles) <= 1.02 * min(cycles), cycles


@pytest.mark.parametrize("is_qat", [False, True])
def test_pt2e_ends_in_integers(is_qat: bool) -> None:
    """Post-training quantisation and training: one step of the output at most, and no float layer between."""
    quantize = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e", reason="torchao is not installed")
    import torchao.quantization.pt2e as pt2e

    module = networks.ResTorch().train(is_qat)
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(module, (torch.randn(2, 3, 32, 32),), dynamic_shapes=batch).module()
    prepare = quantize.prepare_qat_pt2e if is_qat else quantize.prepare_pt2e
    prepared = prepare(program, midge.MidgeQuantizer(is_qat=is_qat))
    if is_qat:
        _train(prepared, pt2e)
    else:
        prepared(torch.randn(8, 3, 32, 32))
    model = midge.open_model(quantize.convert_pt2e(prepared), (torch.zeros(1, 3, 32, 32),))
    ops = [node.op.name for node in model.graph.nodes]
    assert [node.op.name for node in model.graph.nodes if model.graph.type(node.outputs[0]).dtype.is_float] == [
        "dequantize"
    ]
    assert ops.count("quantize") == 1
    found = midge.verify_host(model, 5, against="torch")
    assert (found.values, found.mismatches) == (50, 0)


def _train(prepared: Any, pt2e: Any) -> None:
    pt2e.move_exported_model_to_train(prepared)
    optimizer = torch.optim.SGD(prepared.parameters(), 1e-3)
    for _ in range(2):
        loss = (prepared(torch.randn(4, 3, 32, 32))[:, 0] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pt2e.move_exported_model_to_eval(prepared)
