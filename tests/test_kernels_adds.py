"""Kernels of Armv6-M without multiplications: their numbers against plain arithmetic, and layers as firmware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_trials import batches, trials

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate, emulate_many
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph_values
from midge.ir.types import DType, Quantization, TensorType
from midge.kernels import kernel_files
from midge.kernels.base import Kernel
from midge.kernels.conv2d.armv6m_adds import Conv2DS8Subsets
from midge.kernels.depthwise_conv2d.armv6m_adds import DepthwiseConv2DS8Digits
from midge.kernels.depthwise_conv2d.channels_armv6m import signed_digits
from midge.kernels.digits_armv6m import SHIFT, DigitScaling, digit_scaling
from midge.kernels.fully_connected.armv6m_adds import FullyConnectedS8Subsets
from midge.kernels.quantized import ChannelScaling
from midge.kernels.staircase import Scaling
from midge.kernels.subsets_armv6m import PLANES, Subsets, fits_half_words, subsets
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.cases import random_inputs
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.plan import PlanOptions, plan
from midge.targets import core_board

SMALL, FAST = core_board("cortex-m0-small-multiply"), core_board("cortex-m0")
OPERATORS = sorted({op for op, isa in kernel_files() if isa == "armv6m_adds"})
BATCH = 8


def table(inputs: np.ndarray, places: tuple[int, ...], entry_bytes: int) -> np.ndarray:
    """Sums of all subsets of inputs [taps]: at each index of a table, counted in `entry_bytes`."""
    taps = len(places)
    found = np.zeros(256, np.int64)
    for subset in range(1 << taps):
        members = [tap for tap in range(taps) if subset >> tap & 1]
        found[sum(1 << places[tap] for tap in members)] = inputs[members].sum()
    assert entry_bytes in (1, 4)
    return found


def sums_by_tables(found: Subsets, x: np.ndarray) -> np.ndarray:
    """Sums of products [channels] of inputs [taps], as the emitted code has them."""
    padded = np.zeros(found.padded_taps, np.int64)
    padded[: len(x)] = x
    total = np.zeros(len(found.weights), np.int64)
    for chunk, of_channels in enumerate(found.indices()):
        planes = np.zeros((len(total), PLANES), np.int64)
        for group in range(found.groups):
            first = chunk * found.chunk_taps + group * found.group.taps
            sums = table(padded[first : first + found.group.taps], found.group.places, 4 if found.is_paired else 1)
            planes += sums[of_channels[:, group]]
        if found.is_paired:
            pairs = planes[:, 0::2] + 2 * planes[:, 1::2]
            assert pairs[:, :3].max() < 2**16
            top = planes[:, 6] - 2 * planes[:, 7]
            assert top.min() >= -(2**15) and top.max() < 2**15
        total += planes @ np.array([1, 2, 4, 8, 16, 32, 64, -128])
    return total


@pytest.mark.parametrize("is_paired", (True, False))
@pytest.mark.parametrize("taps", (1, 5, 6, 7, 8, 9, 64, 77, 200))
def test_tables_give_the_sums_of_products(taps: int, is_paired: bool) -> None:
    rng = np.random.default_rng(taps)
    weights = rng.integers(-128, 128, (11, taps)).astype(np.int8)
    weights[:4] = [[-128], [127], [-1], [0]]
    found = subsets(weights, is_paired=is_paired)
    for x in (np.zeros(taps, np.int64), np.full(taps, 255), rng.integers(0, 256, taps), 255 * (weights[5] < 0)):
        assert sums_by_tables(found, x).tolist() == (weights.astype(np.int64) @ x).tolist()


def test_chunks_are_shorter_where_weights_fill_half_words() -> None:
    """Sixty-five weights of -128 are more than `sum_6 - 2 sum_7` has room for; sixty-four are not."""
    assert fits_half_words(np.full((1, 64), -128), 64)
    assert not fits_half_words(np.full((1, 65), -128), 65)
    assert not fits_half_words(np.full((1, 86), 127), 86)
    assert fits_half_words(np.full((1, 72), -1), 72)
    assert subsets(np.full((1, 72), -1, np.int8), is_paired=True).chunks == 1
    assert subsets(np.full((1, 72), -128, np.int8), is_paired=True).chunks == 2


@pytest.mark.parametrize("is_high", (False, True))
def test_signed_digits(is_high: bool) -> None:
    for value in range(-128, 128):
        digits = signed_digits(value, is_high=is_high)
        assert sum(sign << power for power, sign in digits) == value
        assert len({power for power, _ in digits}) == len(digits) <= 8
    assert signed_digits(127, is_high=False) == ((0, -1), (7, 1))
    assert signed_digits(-1, is_high=True) == ((0, -1),)


def results(form: DigitScaling, acc: np.ndarray) -> np.ndarray:
    """What the form makes of accumulators [..., channels], in 32 bits."""
    moved = np.clip(acc - form.origins, 0, form.ends) << form.fractions
    assert moved.max() < 2**32
    total = form.offsets - np.where(acc < 0, form.lowerings, 0)
    for shifts, sign in ((form.plus, 1), (form.minus, -1)):
        for digit in range(shifts.shape[1]):
            total = total + sign * (moved >> shifts[:, digit])
    return (total % 2**32 >> SHIFT) + form.low


@pytest.mark.parametrize("rounding", (Rounding.SINGLE, Rounding.DOUBLE))
@pytest.mark.parametrize("zero_point", (-128, -3, 127))
@pytest.mark.parametrize("reach_bits", (12, 16, 20))
def test_digits_equal_the_reference(rounding: Rounding, zero_point: int, reach_bits: int) -> None:
    channels = 12
    rng = np.random.default_rng(1000 * reach_bits + zero_point)
    real_bits = rng.integers(reach_bits - 10, reach_bits - 7, channels)
    scaling = ChannelScaling(
        np.zeros(channels, np.int64), rng.integers(2**30, 2**31, channels), -real_bits, rounding, zero_point, -128, 127
    )
    high = np.full(channels, 2**reach_bits - 1) - rng.integers(0, 2 ** (reach_bits - 1), channels)
    low = -high + rng.integers(0, 2 ** (reach_bits - 2), channels)
    form = digit_scaling(scaling, low, high)
    assert form is not None
    reference = Scaling(scaling.multipliers, scaling.shifts, rounding, zero_point, scaling.low, scaling.high)
    near = (np.arange(-700, 701)[:, None] * 2.0 ** (real_bits - 2)).astype(np.int64)
    acc = np.clip(np.concatenate([near, rng.integers(low, high + 1, (20000, channels)), [low, high]]), low, high)
    assert (results(form, acc) == reference.results(acc)).all()


def test_digits_of_channels_with_few_results() -> None:
    """One result, in the middle or at an end; results on one side of zero only; one scale for all or several."""
    ranges = [(0, 0), (5000, 5000), (-7000, -7000), (90_000, 99_000), (-90_000, -80_000), (300, 420), (-4000, 9000)]
    lows, highs = (np.array(column, np.int64) for column in zip(*ranges, strict=True))
    several = np.linspace(2**30, 2**31 - 2**20, len(ranges)).astype(np.int64)
    for multipliers in (several, np.full(len(ranges), 2**30 + 77)):
        shifts = np.full(len(ranges), -8)
        scaling = ChannelScaling(np.zeros(len(ranges), np.int64), multipliers, shifts, Rounding.SINGLE, 44, -128, 127)
        form = digit_scaling(scaling, lows, highs)
        assert form is not None and form.is_uniform == scaling.is_shared
        acc = np.linspace(lows, highs, 20_000).astype(np.int64)
        assert (results(form, acc) == Scaling(multipliers, shifts, Rounding.SINGLE, 44, -128, 127).results(acc)).all()


def layer(rng: np.random.Generator, op: Op, x: tuple[int, ...], weights: tuple[int, ...], axis: int, y: tuple[int, ...]
          ) -> Graph:  # fmt: skip
    """One layer with weights from the ends of their range and scales of each channel."""
    builder = GraphBuilder("layer")
    data = np.clip(np.round(rng.normal(0, 60, weights)), -128, 127).astype(np.int8)
    count = weights[axis]
    scales = tuple(float(np.float32(s)) for s in 0.01 * rng.uniform(0.2, 3, count) / np.sqrt(data.size / count))
    if op.name == "fully_connected":
        scales = scales[:1]
    quantization = Quantization(scales, (0,) * len(scales), axis if len(scales) > 1 else None)
    zero_points = rng.integers(-128, 128, 2).tolist()
    for name, shape, zero_point in (("x", x, zero_points[0]), ("y", y, zero_points[1])):
        builder.value(name, TensorType(DType.INT8, shape, Quantization((0.05,), (zero_point,), None)))
    builder.value("w", TensorType(DType.INT8, weights, quantization), data)
    bias = rng.integers(-3000, 3000, count).astype(np.int32)
    builder.value("b", TensorType(DType.INT32, bias.shape), bias)
    builder.node(op, ["x", "w", "b"], ["y"], name="layer")
    builder.inputs.append("x")
    builder.outputs.append("y")
    return builder.build()


def random_layer(seed: int) -> tuple[Graph, Kernel]:
    """A layer of random shape, and its kernel without multiplications."""
    rng = np.random.default_rng(seed)
    activation = Activation.RELU if seed % 2 else Activation.NONE
    kind = ("conv2d", "depthwise_conv2d", "fully_connected")[seed % 3]
    channels, outputs = int(rng.integers(1, 40)), int(rng.integers(1, 20))
    if kind == "fully_connected":
        op: Op = FullyConnected(activation, Rounding.SINGLE, keep_dims=False)
        return layer(rng, op, (1, channels * 9), (outputs, channels * 9), 0, (1, outputs)), FullyConnectedS8Subsets()
    kh, kw, stride = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    rows, columns = int(rng.integers(kh, kh + 4)), int(rng.integers(kw, kw + 12))
    padding = Padding(0, kh // 2, kw // 2, 0)
    y_rows, y_columns = (rows + kh // 2 - kh) // stride + 1, (columns + kw // 2 - kw) // stride + 1
    if kind == "conv2d":
        op = Conv2D(stride, stride, 1, 1, padding, activation, Rounding.DOUBLE)
        shape, axis, kernel = (outputs, kh, kw, channels), 0, Conv2DS8Subsets()
    else:
        outputs = channels
        op = DepthwiseConv2D(stride, stride, 1, 1, padding, activation, Rounding.DOUBLE, depth_multiplier=1)
        shape, axis, kernel = (1, kh, kw, channels), 3, DepthwiseConv2DS8Digits()
    return layer(rng, op, (1, rows, columns, channels), shape, axis, (1, y_rows, y_columns, outputs)), kernel


@pytest.mark.parametrize("seed", range(12))
def test_random_layers_on_the_core(seed: int, tmp_path: Path) -> None:
    graph, kernel = random_layer(seed)
    made = plan(graph, SMALL, PlanOptions(), {"layer": kernel})
    assert kernel.name in {task.binding.kernel.name for task in made.tasks}
    sources = emit(made, prefix="adds", command="", model_sha256="")
    samples = [random_inputs(graph, np.random.default_rng(seed + number)) for number in range(3)]
    image = build(sources, SMALL, tmp_path)
    for sample, (found,) in zip(samples, emulate_many(image, sources, SMALL, samples), strict=True):
        assert found.tolist() == run_graph_values(graph, sample)["y"].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_additions_win_with_the_small_multiplier_only(seed: int) -> None:
    graph, kernel = random_layer(seed)
    for board, isa in ((SMALL, "armv6m_adds"), (FAST, "armv6m")):
        made = plan(graph, board, PlanOptions())
        chosen = next(task.binding.kernel.name for task in made.tasks if task.node.name == "layer")
        assert chosen.endswith(f"__{isa}"), (board.name, kernel.op.name, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATORS)
def test_every_case_on_the_core(op: str, tmp_path: Path) -> None:
    found = []
    chosen = list(trials(op, ("armv6m_adds",), SMALL.core))
    assert chosen
    for number, batch in enumerate(batches(chosen, SMALL, BATCH, "adds", samples=2)):
        image = build(batch.sources, SMALL, tmp_path / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, SMALL, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, SMALL, batch.samples[0]).outputs)
    assert not found, "\n".join(found)
