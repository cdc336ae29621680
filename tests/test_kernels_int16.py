"""int16 activations on Armv7E-M: requantisation by the definition, random layers, and what they take beside int8."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_trials import Trial, batches, between

import midge
from midge.build import build
from midge.emit import emit
from midge.emulate import emulate, emulate_many
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph_values
from midge.ir.types import DType, Quantization, TensorType
from midge.kernels import kernels_for
from midge.kernels.base import Kernel
from midge.kernels.fully_connected.armv7em import FullyConnectedS16Long
from midge.kernels.layouts import NATURAL_S16
from midge.kernels.quantized_s16 import WideScaling
from midge.kernels.requantize_s16 import RequantizationS16, numbers_for
from midge.kernels.single_s16 import _has_steps, exact_multiplier
from midge.ops.add import Add
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.cases import case, quantized, random_inputs, weighted_operands
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fixed_point import (
    multiply_by_quantized_multiplier,
    multiply_by_real,
    quantize_multipliers,
    reduced_multiplier,
)
from midge.ops.fully_connected import FullyConnected
from midge.ops.sub import Sub
from midge.ops.windows import Window
from midge.plan import PlanOptions, plan
from midge.targets import core_board

CORES = ("cortex-m4", "cortex-m33", "cortex-m7")
LOWEST, HIGHEST = -(2**15), 2**15 - 1


class Machine:
    """What the few instructions of requantisation do (Arm Architecture Reference Manual), on arrays of int32."""

    def __init__(self, **registers: np.ndarray) -> None:
        self.registers = {name: np.asarray(value, np.int64) for name, value in registers.items()}
        self.moves = np.zeros(0, bool)

    def run(self, text: str) -> None:
        kind, *names = re.findall(r"[\w#]+", text.replace(", asr #", " asr").replace(" asr #", " asr"))
        shift = int(names.pop()[3:]) if names and re.fullmatch(r"asr\d+", names[-1]) else 0
        sources = [np.int64(name[1:]) if name[0] == "#" else self.registers.get(name) for name in names]
        if kind == "it":
            return
        if kind == "cmp":
            assert sources[0] is not None and sources[1] is not None
            self.moves = np.sign(sources[0] - sources[1])
            return
        if kind.startswith("mov"):
            taken = self.moves == (1 if kind.endswith("gt") else -1)
            self.registers[names[0]] = np.where(taken, self.registers[names[1]], self.registers[names[0]])
            return
        if kind == "smlal":
            low, high, a, b = names
            wide = (self.registers[high] << 32) + (self.registers[low] & 0xFFFFFFFF)
            wide = wide + self.registers[a] * self.registers[b]
            self.registers[low], self.registers[high] = _signed(wide), wide >> 32
            return
        if len(names) == 2:  # the destination is the first operand too
            sources.insert(1, self.registers[names[0]])
        a, b = sources[1], sources[2]
        assert a is not None and b is not None
        c = sources[3] if len(sources) > 3 else None
        made = {
            "smmul": lambda: (a * b) >> 32,
            "smmulr": lambda: (a * b + 2**31) >> 32,
            "smmla": lambda: ((a * b) >> 32) + c,
            "add": lambda: a + (b >> shift),
            "lsl": lambda: _signed(a << b),
            "asr": lambda: a >> b,
            "ssat": lambda: np.clip(b >> shift, -(2 ** (a - 1)), 2 ** (a - 1) - 1),
            "usat": lambda: np.clip(b >> shift, 0, 2**a - 1),
        }[kind]()
        assert np.array_equal(made, _signed(made)), f"{text} leaves 32 bits"
        self.registers[names[0]] = made


def _signed(wide: np.ndarray) -> np.ndarray:
    return ((wide + 2**31) & 0xFFFFFFFF) - 2**31


def computed(form: RequantizationS16, channel: int, acc: np.ndarray) -> np.ndarray:
    """Results of the instructions for accumulators of one channel."""
    parameters = dict(zip(("m", "o", "t"), form.parameters[channel].tolist(), strict=False))
    last = list(parameters)[-1]
    names = [name if name in parameters else last for name in ("m", "o", "t")]
    machine = Machine(acc=acc, **{name: np.full(acc.shape, value) for name, value in parameters.items()})
    for group in form.steps("acc", *names):
        for line in group:
            machine.run(line.format_map({name: name for name in machine.registers}))
    return machine.registers["acc"]


def scaling_of(reals: list[float], rounding: Rounding, bias: np.ndarray, low: int, high: int) -> WideScaling:
    multipliers, shifts = (array.astype(np.int64) for array in quantize_multipliers(reals))
    if rounding is Rounding.REDUCED:
        multipliers = reduced_multiplier(multipliers)
    return WideScaling(bias, multipliers, shifts, np.array(reals), rounding, low, high, 2**31, wraps=False)


def expected(reals: list[float], channel: int, scaling: WideScaling, acc: np.ndarray) -> np.ndarray:
    if scaling.rounding is Rounding.SINGLE:
        result = multiply_by_real(acc, reals[channel])
    else:
        multipliers, shifts = quantize_multipliers(reals)
        result = multiply_by_quantized_multiplier(
            acc, int(multipliers[channel]), int(shifts[channel]), scaling.rounding
        )
    return np.clip(result, scaling.low, scaling.high)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(-24, -2).map(lambda power: 2.0**power), min_size=1, max_size=3),
    st.sampled_from(list(Rounding)),
    st.sampled_from([(LOWEST, HIGHEST), (0, HIGHEST), (0, 20_000), (-3000, 3000)]),
    st.integers(4, 31),
    st.integers(0, 2**32 - 1),
)
def test_instructions_equal_the_definition(
    reals: list[float], rounding: Rounding, bounds: tuple[int, int], bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scaling = scaling_of(reals, rounding, np.zeros(len(reals), np.int64), *bounds)
    reach = 2**bits - (bits == 31)
    numbers = numbers_for(scaling, np.full(len(reals), -reach), np.full(len(reals), reach))
    if numbers is None:
        return
    form = RequantizationS16(numbers, NATURAL_S16)
    for channel, real in enumerate(reals):
        # All over the range, round the results' steps, and at the ends.
        steps = np.round((rng.integers(LOWEST, HIGHEST, 500) + 0.5) / real).astype(np.int64)
        near = (steps[:, None] + np.arange(-1, 2)).reshape(-1)
        acc = np.concatenate([rng.integers(-reach, reach + 1, 500), near[np.abs(near) <= reach], [-reach, 0, reach]])
        np.testing.assert_array_equal(computed(form, channel, acc), expected(reals, channel, scaling, acc))


@pytest.mark.parametrize("rounding", Rounding)
def test_usual_layers_have_a_form(rounding: Rounding) -> None:
    """Results reach 16 bits where accumulators reach 24 to 28, and channels' scales are some powers of two apart."""
    reals = [2.0**-9.3, 2.0**-11.9, 2.0**-13.2]
    scaling = scaling_of(reals, rounding, np.zeros(3, np.int64), 0, HIGHEST)
    numbers = numbers_for(scaling, np.full(3, -(2**28)), np.full(3, 2**28))
    assert numbers is not None
    assert numbers.columns == {
        Rounding.REDUCED: ("multiplier",), Rounding.DOUBLE: ("multiplier", "half", "shift"),
        Rounding.SINGLE: ("fraction", "multiplier", "half"),
    }[rounding]  # fmt: skip
    assert numbers_for(scaling, np.full(3, -(2**31) - 1), np.full(3, 0)) is None


@settings(max_examples=25, deadline=None)
@given(st.floats(2.0**-17, 2.0**-4), st.integers(20, 30))
def test_multipliers_have_all_steps(real: float, bits: int) -> None:
    """Those that Euclid's algorithm shows to be right, and those of exact halves."""
    for scale in (real, 2.0 ** round(np.log2(real)), 3 * 2.0 ** round(np.log2(real / 3))):
        shift = int(np.floor(-1.001 - np.log2(scale)))
        multiplier = exact_multiplier(scale, -(2**bits), 2**bits, shift)
        assert multiplier is not None and _has_steps(multiplier, scale, -(2**bits), 2**bits, shift)


def weighted(name: str, op: Op, x: tuple[int, ...], weights: tuple[int, ...], y: tuple[int, ...], axis: int,
             rng: np.random.Generator) -> Graph:  # fmt: skip
    """A layer with weights; its bias is int64, or int32 with DOUBLE rounding."""
    channels = weights[axis]
    is_double = getattr(op, "rounding", None) is Rounding.DOUBLE
    operands = lambda draw: weighted_operands(  # noqa: E731
        draw, x, weights, y, channels=channels, channel_axis=axis, fan_in=int(np.prod(weights)) // channels,
        zero_points=(0, 0), per_channel=bool(draw.integers(2)), bias=is_double or bool(draw.integers(4)),
        dtype=DType.INT16, bias_dtype=DType.INT32 if is_double else DType.INT64,
    )  # fmt: skip
    return case(name, op, operands).build(rng)


def random_layer(kind: str, rng: np.random.Generator) -> Graph:
    """A layer of any size that the kernels take."""

    def up_to(most: int) -> int:
        return int(rng.integers(1, most + 1))

    activation = (Activation.NONE, Activation.RELU, Activation.RELU6)[rng.integers(3)]
    rounding = (Rounding.REDUCED, Rounding.DOUBLE)[rng.integers(2)]
    if kind == "fully_connected":
        inputs, outputs = up_to(90), up_to(20)
        single = (Rounding.SINGLE, rounding)[rng.integers(2)]
        op = FullyConnected(activation, single, keep_dims=False)
        return weighted(kind, op, (1, inputs), (outputs, inputs), (1, outputs), 0, rng)
    if kind in ("add", "sub"):
        shape = (1, up_to(3), up_to(6), up_to(9))
        scales = 1e-4 * 2.0 ** rng.uniform(-6, 0, 2)
        scales = np.full(2, scales[0]) if rng.integers(3) == 0 else scales
        out = float(scales.sum() * rng.uniform(0.6, 1.4))
        op = (Add if kind == "add" else Sub)(activation if activation is not Activation.RELU6 else Activation.NONE)
        made = [(name, quantized(shape, float(scale), 0, DType.INT16), None)
                for name, scale in zip("ab", scales, strict=True)]  # fmt: skip
        return case(kind, op, lambda _: (made, quantized(shape, out, 0, DType.INT16))).build(rng)
    kh, kw, stride = up_to(4), up_to(5), up_to(2)
    x = (1, kh + up_to(5), kw + up_to(9), up_to(13))
    padding = Padding(*(int(rng.integers(size)) for size in (kh, kh, kw, kw)))
    rows, columns = Window(kh, kw, stride, stride, 1, 1, padding).output_size(x[1], x[2])
    if kind == "conv2d":
        outputs = up_to(9)
        op = Conv2D(stride, stride, 1, 1, padding, activation, rounding)
        return weighted(kind, op, x, (outputs, kh, kw, x[3]), (1, rows, columns, outputs), 0, rng)
    multiplier = up_to(2)
    op = DepthwiseConv2D(stride, stride, 1, 1, padding, activation, rounding, multiplier)
    outputs = multiplier * x[3]
    return weighted(kind, op, x, (1, kh, kw, outputs), (1, rows, columns, outputs), 3, rng)


@pytest.mark.parametrize("core_name", CORES)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_layers_equal_their_references(core_name: str, tmp_path_factory: pytest.TempPathFactory, seed: int
                                              ) -> None:  # fmt: skip
    rng, board = np.random.default_rng(seed), core_board(core_name)
    chosen = []
    for kind in ("conv2d", "conv2d", "conv2d", "depthwise_conv2d", "depthwise_conv2d", "fully_connected",
                 "fully_connected", "add", "sub"):  # fmt: skip
        graph = random_layer(kind, rng)
        node = graph.nodes[0]
        legal = [kernel for kernel in kernels_for(node.op, ("armv7em",))
                 if kernel.refuse(node, graph, board.core) is None]  # fmt: skip
        legal += [offer.kernel for kernel in legal for offer in kernel.faster(node, graph, board.core)]
        chosen += [Trial(f"{kind} {kernel.name}", node.name, kernel, between(graph)) for kernel in legal]
    assert len(chosen) > 9
    for number, batch in enumerate(batches(chosen, board, 40, "random")):
        image = build(batch.sources, board, tmp_path_factory.mktemp("random") / str(number))
        found = []
        for sample, outputs in enumerate(emulate_many(image, batch.sources, board, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, board, batch.samples[0]).outputs)
        assert not found, "\n".join(found)


def long_layer(name: str, op: FullyConnected | Conv2D, x: tuple[int, ...], weights_shape: tuple[int, ...],
               y: tuple[int, ...], *, bias_bits: int, bias_dtype: DType) -> Graph:  # fmt: skip
    """A layer whose sums leave 32 bits, by its bias or (0 bits) by inputs that are all alike."""
    outputs, inputs = weights_shape[0], int(np.prod(weights_shape[1:]))
    rng = np.random.default_rng(inputs + outputs)
    low = 0 if bias_bits == 0 else -127
    weights = rng.integers(low, 127, weights_shape, np.int8, endpoint=True)
    reach = 2**bias_bits + 2**15 * 64 * inputs // (2 if bias_bits == 0 else 40)
    scales = tuple(float(np.float32(1e-3 * rng.uniform(0.6, 1))) for _ in range(outputs))
    bias = rng.integers(-(2**bias_bits), 2**bias_bits, outputs)
    if bias_dtype is DType.INT32:
        bias = np.sign(bias) * (2**31 - 1)
    operands = [
        ("x", quantized(x, 1e-4, 0, DType.INT16), None),
        ("w", TensorType(DType.INT8, weights.shape, Quantization(scales, (0,) * outputs, 0)), weights),
        ("b", TensorType(bias_dtype, (outputs,)), bias.astype(bias_dtype.numpy)),
    ]
    return case(name, op, lambda _: (operands, quantized(y, 1e-7 * reach / 25_000, 0, DType.INT16))).build(rng)


def long_layers() -> Iterator[tuple[Graph, Kernel]]:
    """Large biases, inputs that are all alike, and int32 biases, with which sums wrap."""
    dense = FullyConnectedS16Long()
    for rounding, bits, dtype in ((Rounding.SINGLE, 38, DType.INT64), (Rounding.REDUCED, 38, DType.INT64),
                                  (Rounding.SINGLE, 0, DType.INT64), (Rounding.REDUCED, 0, DType.INT64),
                                  (Rounding.SINGLE, 31, DType.INT32), (Rounding.DOUBLE, 31, DType.INT32)):  # fmt: skip
        for inputs, outputs in ((1111, 9), (2050, 4)) if bits == 0 else ((13, 7), (64, 8), (1, 3)):
            op = FullyConnected(Activation.NONE, rounding, keep_dims=False)
            name = f"dense {rounding.value} {bits} {inputs}"
            yield long_layer(name, op, (1, inputs), (outputs, inputs), (1, outputs), bias_bits=bits,
                             bias_dtype=dtype), dense  # fmt: skip
    kernels = [kernel for kernel in kernels_for(op_of_convolution(1, 1), ("armv7em",)) if "s16_long" in kernel.name]
    for bits, kh, kw, stride, inputs, outputs, columns in (
        (38, 1, 1, 1, 7, 5, 7), (38, 3, 3, 1, 4, 6, 5), (36, 2, 5, 2, 3, 3, 9), (0, 3, 3, 1, 120, 3, 4),
        (0, 4, 4, 2, 72, 4, 5), (38, 5, 1, 1, 66, 2, 1),
    ):  # fmt: skip
        x, weights = (1, kh + 1, columns + kw - 1, inputs), (outputs, kh, kw, inputs)
        y = (1, 1 + 1 // stride, 1 + (columns - 1) // stride, outputs)
        op = op_of_convolution(stride, outputs)
        graph = long_layer(f"conv {x} {weights}", op, x, weights, y, bias_bits=bits, bias_dtype=DType.INT64)
        yield from ((graph, kernel) for kernel in kernels)


def op_of_convolution(stride: int, outputs: int) -> Conv2D:
    """Without padding; rectified where the number of channels is even."""
    activation = Activation.NONE if outputs % 2 else Activation.RELU
    return Conv2D(stride, stride, 1, 1, Padding(0, 0, 0, 0), activation, Rounding.REDUCED)


@pytest.mark.parametrize("core_name", CORES)
def test_sums_of_64_bits(core_name: str, tmp_path: Path) -> None:
    board, chosen = core_board(core_name), []
    for graph, kernel in long_layers():
        node = graph.nodes[0]
        assert kernel.refuse(node, graph, board.core) is None, graph.name
        chosen.append(Trial(f"{graph.name} {kernel.name}", node.name, kernel, graph))
    for number, batch in enumerate(batches(chosen, board, 14, "long")):
        image = build(batch.sources, board, tmp_path / str(number))
        ends = [tuple(np.full_like(array, value) for array in batch.samples[0]) for value in (LOWEST, HIGHEST)]
        samples = (*batch.samples, *ends)
        outputs, found = emulate_many(image, batch.sources, board, samples), []
        for sample, results in zip(samples, outputs, strict=True):
            values = run_graph_values(batch.graph, sample)
            for name, result in zip(batch.graph.outputs, results, strict=True):
                same = np.array_equal(result.reshape(-1), values[name].reshape(-1))
                found += [] if same else [f"{name} of {batch.trials[int(name.split('_')[0][1:])].name}"]
        assert not found, "\n".join(found)


def test_the_keyword_model_is_as_fast_as_in_int8(shared: Path, tmp_path: Path) -> None:
    """Calibration does not matter to the speed: one input is enough."""
    source = midge.load(shared / "models" / "mlperf-tiny" / "kws_ref_model_float32.tflite")
    board = core_board("cortex-m4")
    cycles = {}
    for dtype in ("int8", "int16"):
        samples = np.random.default_rng(0).normal(0, 20, (4, 1, 49, 10, 1)).astype(np.float32)
        graph = midge.quantize(source, samples, activations=dtype).graph  # type: ignore[arg-type]
        planned = plan(graph, board, PlanOptions("latency"))
        sources = emit(planned, prefix="kws", command="", model_sha256="")
        image = build(sources, board, tmp_path / dtype)
        inputs = random_inputs(graph, np.random.default_rng(1))
        cycles[dtype] = emulate(image, sources, board, inputs).cycles
    assert cycles["int16"] <= 1.03 * cycles["int8"] and cycles["int16"] < 3_300_000, cycles
