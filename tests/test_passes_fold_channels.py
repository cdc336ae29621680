"""Channels that cannot matter: what goes, what stays and why, and that no output changes by a bit."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_networks import extreme_inputs, sparse_network

from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ir.text import parse_graph, print_graph
from midge.load import load
from midge.passes import PassOptions, dead, fold_channels, run_passes
from midge.passes.fold_report import FoldReport
from midge.targets import find_board

BOARD = find_board("nucleo-l4r5zi")


def assert_equal(before: Graph, after: Graph, samples: int = 4) -> None:
    for inputs in extreme_inputs(before, np.random.default_rng(0), samples):
        for a, b in zip(run_graph(before, inputs), run_graph(after, inputs), strict=True):
            np.testing.assert_array_equal(a, b)


def folded(text: str) -> tuple[Graph, Graph, list[str]]:
    """The graph of a text, what the pass makes of it (checked to be equal), and why places were left alone."""
    lines: list[str] = []
    graph = parse_graph(text)
    after = fold_channels.run(graph, BOARD, PassOptions(explain=lines.append))
    assert_equal(graph, after)
    return graph, after, lines


CONV = "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 activation=none rounding=double padding="
NONE, AROUND = "(0, 0, 0, 0)", "(1, 1, 1, 1)"


def two_layers(bias: int, padding: str, kernel: int, second: list[int]) -> str:
    """A 1x1 convolution to two channels, the second of which is `bias / 16`, read by a convolution to one channel."""
    return f"""graph "two"
input %x: int8[1, 4, 4, 1] q(1.0, 0)
constant %w1: int8[2, 1, 1, 1] q(1.0, 0) = [5, 0]
constant %b1: int32[2] = [3, {bias}]
%v: int8[1, 4, 4, 2] q(16.0, 0) = conv2d(%x, %w1, %b1) {CONV}{NONE} @"first"
constant %w2: int8[1, {kernel}, {kernel}, 2] q(1.0, 0) = {second}
constant %b2: int32[1] = [100]
%y: int8[1, 4, 4, 1] q(256.0, 0) = conv2d(%v, %w2, %b2) {CONV}{padding} @"second"
output %y
"""


def test_a_constant_goes_into_the_bias() -> None:
    _, after, _ = folded(two_layers(320, NONE, 1, [7, -3]))
    expected = f"""graph "two"
input %x: int8[1, 4, 4, 1] q(1.0, 0)
constant %w1: int8[1, 1, 1, 1] q(1.0, 0) = [5]
constant %b1: int32[1] = [3]
%v: int8[1, 4, 4, 1] q(16.0, 0) = conv2d(%x, %w1, %b1) stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 \
padding={NONE} activation=none rounding=double @"first"
constant %w2: int8[1, 1, 1, 1] q(1.0, 0) = [7]
constant %b2: int32[1] = [{100 - 3 * 20}]
%y: int8[1, 4, 4, 1] q(256.0, 0) = conv2d(%v, %w2, %b2) stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 \
padding={NONE} activation=none rounding=double @"second"
output %y
"""
    assert print_graph(after) == expected


NINE = [1, 2] * 9
CENTRE = [1, 0] * 4 + [1, 2] + [1, 0] * 4


@pytest.mark.parametrize(
    ("bias", "second", "channels", "reason"),
    [
        (0, NINE, 1, ""),  # at the zero point padding makes no difference
        (320, CENTRE, 1, ""),  # nor where only the middle tap reads the channel
        (320, NINE, 2, "they differ from the padding at the border of second"),
    ],
)
def test_padding(bias: int, second: list[int], channels: int, reason: str) -> None:
    _, after, lines = folded(two_layers(bias, AROUND, 3, second))
    assert after.type("v").channels == channels
    assert lines == ([f"fold_channels: 1 constant channels of v stay, {reason}"] if reason else [])


def test_a_bias_stays_within_32_bits() -> None:
    text = two_layers(320, NONE, 1, [7, 100]).replace("[100]\n%y", f"[{2**31 - 2000}]\n%y")
    graph, after, lines = folded(text)
    assert after is graph
    assert lines == ["fold_channels: 1 constant channels of v stay, the bias of second would leave 32 bits"]


def depthwise(bias: int) -> str:
    return f"""graph "depthwise"
input %x: int8[1, 4, 4, 1] q(1.0, 0)
constant %w1: int8[2, 1, 1, 1] q(1.0, 0) = [5, 0]
constant %b1: int32[2] = [3, {bias}]
%v: int8[1, 4, 4, 2] q(16.0, 0) = conv2d(%x, %w1, %b1) {CONV}{NONE} @"first"
constant %wd: int8[1, 3, 3, 2] q(1.0, 0) = packed "{_packed(np.arange(1, 19))}"
%d: int8[1, 4, 4, 2] q(16.0, 0) = depthwise_conv2d(%v, %wd, none) {CONV}{AROUND} depth_multiplier=1 @"middle"
constant %w2: int8[1, 1, 1, 2] q(1.0, 0) = [1, 50]
%y: int8[1, 4, 4, 1] q(256.0, 0) = conv2d(%d, %w2, none) {CONV}{NONE} @"last"
output %y
"""


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.astype(np.int8).tobytes())).decode()


@pytest.mark.parametrize(("bias", "channels", "added"), [(0, 1, None), (32, 2, None), (160, 1, 127 * 50)])
def test_a_constant_through_a_padded_depthwise_layer(bias: int, channels: int, added: int | None) -> None:
    """At the zero point it stays one value, and where it saturates everywhere; else border and middle differ."""
    _, after, _ = folded(depthwise(bias))
    assert [after.type(name).channels for name in ("v", "d")] == [channels, channels]
    assert after.constant(after.nodes[2].inputs[2]) == (None if added is None else [added])


def residual(read: str) -> str:
    """Two branches of three channels, added, and read by a layer with the weights `read`."""
    return f"""graph "residual"
input %x: int8[1, 2, 2, 1] q(1.0, 0)
constant %w1: int8[3, 1, 1, 1] q(1.0, 0) = [5, 0, 3]
%a: int8[1, 2, 2, 3] q(8.0, 0) = conv2d(%x, %w1, none) {CONV}{NONE} @"a"
constant %w2: int8[3, 1, 1, 1] q(1.0, 0) = [7, 0, 4]
%b: int8[1, 2, 2, 3] q(8.0, 0) = conv2d(%x, %w2, none) {CONV}{NONE} @"b"
%s: int8[1, 2, 2, 3] q(16.0, 0) = add(%a, %b) activation=none @"sum"
constant %w3: int8[1, 1, 1, 3] q(1.0, 0) = {read}
%y: int8[1, 2, 2, 1] q(64.0, 0) = conv2d(%s, %w3, none) {CONV}{NONE} @"last"
output %y
"""


@pytest.mark.parametrize(("read", "channels"), [("[1, 1, 1]", 2), ("[1, 1, 0]", 1), ("[0, 5, 0]", 1)])
def test_channels_of_a_sum_go_on_both_branches(read: str, channels: int) -> None:
    _, after, _ = folded(residual(read))
    assert [after.type(name).channels for name in ("a", "b", "s")] == [channels] * 3


def test_one_constant_addend_stays() -> None:
    graph, after, lines = folded(residual("[1, 1, 1]").replace("[7, 0, 4]", "[7, 1, 4]"))
    assert after is graph
    assert lines == ["fold_channels: 1 constant channels of a stay, sum (add) has no bias to fold them into"]


def test_outputs_keep_their_channels() -> None:
    graph, after, _ = folded(residual("[1, 1, 0]").replace("output %y", "output %s\noutput %y"))
    assert after is graph


def test_groups_keep_equal_sizes() -> None:
    """Filters 0 and 1 are zero, but only one may go: the second group has one that counts."""
    text = f"""graph "groups"
input %x: int8[1, 2, 2, 4] q(1.0, 0)
constant %w1: int8[4, 1, 1, 2] q(1.0, 0) = [0, 0, 0, 0, 1, 2, 0, 0]
%a: int8[1, 2, 2, 4] q(4.0, 0) = conv2d(%x, %w1, none) {CONV}{NONE} @"a"
constant %w2: int8[1, 1, 1, 4] q(1.0, 0) = [1, 2, 3, 4]
%y: int8[1, 2, 2, 1] q(16.0, 0) = conv2d(%a, %w2, none) {CONV}{NONE} @"b"
output %y
"""
    _, after, _ = folded(text)
    assert after.type("a").channels == 2
    assert after.type("w1").shape == (2, 1, 1, 2)


def test_a_depth_multiplier_shrinks() -> None:
    text = f"""graph "multiplier"
input %x: int8[1, 2, 2, 1] q(1.0, 0)
constant %w1: int8[1, 1, 1, 4] q([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0], axis=3) = [1, 0, 3, 4]
%a: int8[1, 2, 2, 4] q(4.0, 0) = depthwise_conv2d(%x, %w1, none) {CONV}{NONE} depth_multiplier=4 @"a"
%f: int8[1, 16] q(4.0, 0) = reshape(%a) shape=(1, 16) @"flat"
constant %w2: int8[1, 16] q(1.0, 0) = [1, 9, 0, 1, 1, 9, 0, 1, 1, 9, 0, 2, 1, 9, 0, 1]
%y: int8[1, 1] q(16.0, 0) = fully_connected(%f, %w2, none) activation=none rounding=single keep_dims=false @"b"
output %y
"""
    _, after, _ = folded(text)
    assert print_graph(after).splitlines()[2:5] == [
        "constant %w1: int8[1, 1, 1, 2] q([1.0, 4.0], [0, 0], axis=3) = [1, 4]",
        f"%a: int8[1, 2, 2, 2] q(4.0, 0) = depthwise_conv2d(%x, %w1, none) stride_h=1 stride_w=1 dilation_h=1 "
        f'dilation_w=1 padding={NONE} activation=none rounding=double depth_multiplier=2 @"a"',
        '%f: int8[1, 8] q(4.0, 0) = reshape(%a) shape=(1, 8) @"flat"',
    ]
    assert after.constant("w2") is not None and np.array_equal(after.values["w2"].data, [[1, 1, 1, 1, 1, 2, 1, 1]])


def test_padded_channels_go_when_read_by_nobody() -> None:
    text = f"""graph "pad"
input %x: int8[1, 2, 2, 1] q(1.0, 3)
%p: int8[1, 2, 4, 4] q(1.0, 3) = pad(%x) paddings=((0, 0), (0, 0), (1, 1), (1, 2)) @"pad"
constant %w: int8[1, 1, 1, 4] q(1.0, 0) = [9, 8, 7, 6]
%y: int8[1, 2, 4, 1] q(16.0, 0) = conv2d(%p, %w, none) {CONV}{NONE} @"conv"
output %y
"""
    _, after, _ = folded(text)
    assert after.type("p").shape == (1, 2, 4, 1)
    assert [node.op.name for node in run_passes(parse_graph(text), BOARD).nodes] == ["conv2d"]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1 << 30))
def test_exact_on_random_networks(seed: int) -> None:
    graph = sparse_network(seed)
    assert_equal(graph, fold_channels.run(graph, BOARD, PassOptions()))
    assert_equal(graph, run_passes(graph, BOARD), 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_a_second_run_finds_nothing(seed: int) -> None:
    graph = dead.run(sparse_network(seed), BOARD, PassOptions())
    once = fold_channels.run(graph, BOARD, PassOptions())
    assert fold_channels.run(once, BOARD, PassOptions()).total_macs == once.total_macs


@pytest.mark.parametrize(
    ("file", "macs"),
    [
        ("vww_96_int8", (7_489_664, 3_727_313)),
        ("pretrainedResnet_large_int8", (76_473_920, 72_388_544)),
        ("kws_ref_model", (2_656_768, 2_656_768)),
        ("pretrainedResnet_quant", (12_501_632, 12_501_632)),
        ("str_ww_ref_model", (826_368, 826_368)),
        ("ad01_int8", (264_192, 264_192)),
    ],
)
def test_reference_models(mlperf_tiny: Path, file: str, macs: tuple[int, int]) -> None:
    reports: list[FoldReport] = []
    graph = load(mlperf_tiny / f"{file}.tflite")
    after = run_passes(graph, BOARD, PassOptions(report=reports.append))
    assert (graph.total_macs, after.total_macs) == macs
    if after.total_macs == graph.total_macs:
        assert not reports
        return
    (report,) = reports
    assert (report.macs_before, report.macs_after) == macs
    assert all(layer.after.channels <= layer.before.channels for layer in report.layers)
    assert_equal(graph, after, 2 if macs[0] > 10_000_000 else 10)


def test_visual_wake_words_keep_29_kilobytes_of_weights(mlperf_tiny: Path) -> None:
    after = run_passes(load(mlperf_tiny / "vww_96_int8.tflite"), BOARD)
    weights = sum(value.type.bytes for value in after.constants() if len(value.type.shape) > 1)
    assert weights == 29_066
