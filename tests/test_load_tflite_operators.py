"""Operators of .tflite files that become several nodes, or none: checked against LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from litert_runner import assert_equal, run_litert
from tflite_maker import Maker, Subgraph

from midge.errors import UnsupportedError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.load.tflite import graph_of
from midge.ops.cases import random_inputs
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D

RNG = np.random.default_rng(11)


def checked(maker: Maker, inputs: tuple[np.ndarray, ...] | None = None) -> Graph:
    """The graph of the file, which gives what LiteRT gives."""
    content = maker.finish()
    graph = graph_of(content, "m.tflite", "m")
    inputs = random_inputs(graph, np.random.default_rng(3)) if inputs is None else inputs
    expected = run_litert(content, inputs)
    for theirs, ours in zip(expected, run_graph(graph, inputs), strict=True):
        assert_equal(theirs, ours, "m.tflite")
    return graph


def refusal(maker: Maker) -> str:
    with pytest.raises(UnsupportedError) as caught:
        graph_of(maker.finish(), "m.tflite", "m")
    return str(caught.value)


def _conv(g: Subgraph, x: int, y_shape: tuple[int, ...], channels: int, *, depthwise: bool, is_int8: bool,
          same: bool, stride: int = 1) -> int:  # fmt: skip
    outputs = channels if depthwise else 3
    shape = (1, 3, 3, outputs) if depthwise else (outputs, 3, 3, channels)
    if is_int8:
        weights = g.constant(RNG.integers(-127, 128, shape), np.int8, scale=0.01)
        bias, kind, more = (
            g.constant(RNG.integers(-99, 99, outputs), np.int32),
            np.int8,
            {"scale": 0.3, "zero_point": -9},
        )
    else:
        weights, bias = g.constant(RNG.standard_normal(shape)), g.constant(RNG.standard_normal(outputs))
        kind, more = np.float32, {}
    fields: dict[str, Any] = {"Padding": 0 if same else 1, "StrideH": stride, "StrideW": stride}
    if depthwise:
        options = ("DepthwiseConv2DOptions", {**fields, "DepthMultiplier": 1})
        return g.op("DEPTHWISE_CONV_2D", [x, weights, bias], y_shape, kind, options, **more)
    return g.op("CONV_2D", [x, weights, bias], y_shape, kind, ("Conv2DOptions", fields), **more)


def _dilated(*, depthwise: bool = False, is_int8: bool = True, same: bool = False,
             pads: tuple[tuple[int, int], ...] = ((2, 3), (3, 3)), cuts: tuple[tuple[int, int], ...] = ((0, 1), (0, 0)),
             block: tuple[int, int] = (2, 3), again: tuple[int, ...] = (2, 3), stride: int = 1) -> Maker:  # fmt: skip
    """An image of 9x9 pixels in batches of every second row and third column, convolved."""
    maker = Maker()
    g = maker.subgraph()
    kind, more = (np.int8, {"scale": 0.05, "zero_point": 7}) if is_int8 else (np.float32, {})
    x = g.input((1, 9, 9, 4), kind, **more)
    rows, columns = ((9 + sum(pair)) // step for pair, step in zip(pads, block, strict=True))
    count = block[0] * block[1]
    blocks = g.constant(block, np.int32)
    # Pads that the file computes, as TensorFlow writes them.
    half = g.constant(np.array(pads) - 1, np.int32)
    padded = g.op("ADD", [half, g.constant(np.ones((2, 2)), np.int32)], (2, 2), np.int32, ("AddOptions", {}))
    y = g.op("SPACE_TO_BATCH_ND", [x, blocks, padded], (count, rows, columns, 4), kind,
             ("SpaceToBatchNDOptions", {}), **more)  # fmt: skip
    if not same:
        rows, columns = (rows - 3) // stride + 1, (columns - 3) // stride + 1
    channels = 4 if depthwise else 3
    y = _conv(g, y, (count, rows, columns, channels), 4, depthwise=depthwise, is_int8=is_int8, same=same, stride=stride)
    shape = (1, rows * block[0] - sum(cuts[0]), columns * block[1] - sum(cuts[1]), channels)
    more = {"scale": 0.3, "zero_point": -9} if is_int8 else {}
    blocks = g.constant(again, np.int32)
    g.outputs.append(g.op("BATCH_TO_SPACE_ND", [y, blocks, g.constant(cuts, np.int32)], shape, kind,
                          ("BatchToSpaceNDOptions", {}), **more))  # fmt: skip
    return maker


@pytest.mark.parametrize("is_int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("depthwise", [False, True], ids=["conv", "depthwise"])
@pytest.mark.parametrize("same", [False, True], ids=["valid", "same"])
def test_batches_round_a_convolution_are_a_dilation(is_int8: bool, depthwise: bool, same: bool) -> None:
    graph = checked(_dilated(depthwise=depthwise, is_int8=is_int8, same=same))
    (node,) = graph.nodes
    assert isinstance(node.op, Conv2D | DepthwiseConv2D) and (node.op.dilation_h, node.op.dilation_w) == (2, 3)


def test_batches_round_a_convolution_that_are_no_dilation() -> None:
    assert "strides between" in refusal(_dilated(stride=2))
    assert "put together by blocks [3, 2]" in refusal(_dilated(again=(3, 2)))
    assert "cuts more than was padded" in refusal(_dilated(pads=((0, 1), (0, 0)), cuts=((1, 0), (0, 0))))


@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((1, 2), (3, 0))], ids=["whole", "padded"])
def test_batches_alone(pads: tuple[tuple[int, int], ...]) -> None:
    maker = Maker()
    g = maker.subgraph()
    x = g.input((1, 6, 6, 2), np.int8, scale=0.05, zero_point=7)
    rows, columns = ((6 + sum(pair)) // 3 for pair in pads)
    blocks, more = g.constant([3, 3], np.int32), {"scale": 0.05, "zero_point": 7}
    y = g.op("SPACE_TO_BATCH_ND", [x, blocks, g.constant(pads, np.int32)], (9, rows, columns, 2), np.int8,
             ("SpaceToBatchNDOptions", {}), **more)  # fmt: skip
    back = g.op("BATCH_TO_SPACE_ND", [y, blocks, g.constant([[1, 0], [0, 2]], np.int32)],
                (1, rows * 3 - 1, columns * 3 - 2, 2), np.int8, ("BatchToSpaceNDOptions", {}), **more)  # fmt: skip
    g.outputs += [y, back]
    checked(maker)


def _single(code: str, operands: Callable[[Subgraph], list[int]], shape: tuple[int, ...], dtype: Any = np.float32,
            options: tuple[str, dict[str, Any]] | None = None) -> Maker:  # fmt: skip
    maker = Maker()
    g = maker.subgraph()
    g.outputs.append(g.op(code, operands(g), shape, dtype, options))
    return maker


FLOATS = (1, 3, 4, 5)
SINGLES: dict[str, tuple[Maker, int]] = {
    "add_n": (_single("ADD_N", lambda g: [g.input(FLOATS) for _ in range(4)], FLOATS), 3),
    "add_n of two": (_single("ADD_N", lambda g: [g.input(FLOATS) for _ in range(2)], FLOATS), 1),
    **{f"cumsum{' reversed' * back}{' exclusive' * exclusive}": (
        _single("CUMSUM", lambda g: [g.input(FLOATS), g.constant(1, np.int32)], FLOATS, np.float32,
                ("CumsumOptions", {"Exclusive": exclusive, "Reverse": back})), 1 + 2 * back)
       for back in (False, True) for exclusive in (False, True)},
    "fill": (_single("FILL", lambda g: [g.constant([2, 3], np.int32), g.input(())], (2, 3)), 1),
    "l2 pool": (_single("L2_POOL_2D", lambda g: [g.input(FLOATS)], (1, 2, 2, 5), np.float32,
                        ("Pool2DOptions", {"Padding": 0, "FilterHeight": 3, "FilterWidth": 2, "StrideH": 2,
                                           "StrideW": 2})), 3),
    "l2 pool relu6": (_single("L2_POOL_2D", lambda g: [g.input(FLOATS)], (1, 2, 3, 5), np.float32,
                              ("Pool2DOptions", {"Padding": 1, "FilterHeight": 2, "FilterWidth": 2, "StrideH": 1,
                                                 "StrideW": 1, "FusedActivationFunction": 3})), 4),
    "pad 2": (_single("PADV2", lambda g: [g.input(FLOATS), g.constant([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32),
                                           g.constant(-np.inf)], (1, 6, 7, 5), options=("PadV2Options", {})), 2),
    "mean over a batch": (_single("MEAN", lambda g: [g.input((4, 3, 5)), g.constant([0, 2], np.int32)], (3,),
                                  options=("ReducerOptions", {})), 1),
    "largest of a batch": (_single("REDUCE_MAX", lambda g: [g.input((4, 3, 5)), g.constant(0, np.int32)], (3, 5),
                                   options=("ReducerOptions", {})), 1),
    "reversed sequences": (_single("REVERSE_SEQUENCE", lambda g: [g.input((3, 4, 5)), g.constant([4, 0, 3], np.int32)],
                                   (3, 4, 5), options=("ReverseSequenceOptions", {"SeqDim": 1, "BatchDim": 0})), 1),
    "bytes as numbers": (_single("CAST", lambda g: [g.input(FLOATS, np.uint8)], FLOATS,
                                 options=("CastOptions", {})), 1),
    "logical not": (_single("LOGICAL_NOT", lambda g: [g.input(FLOATS, np.bool_)], FLOATS, np.bool_), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLES)
def test_one_operator(name: str) -> None:
    maker, nodes = SINGLES[name]
    assert len(checked(maker).nodes) == nodes


@pytest.mark.parametrize("is_int8", [False, True], ids=["float32", "int8 table"])
def test_embedding_lookup(is_int8: bool) -> None:
    maker = Maker()
    g = maker.subgraph()
    ids = g.input((6,), np.int32)
    table = (g.constant(RNG.integers(-127, 128, (20, 8)), np.int8, scale=0.02) if is_int8
             else g.constant(RNG.standard_normal((20, 8))))  # fmt: skip
    g.outputs.append(g.op("EMBEDDING_LOOKUP", [ids, table], (6, 8)))
    graph = checked(maker, (np.array([0, 19, 3, 3, 7, 1], np.int32),))
    assert [node.op.name for node in graph.nodes] == ["gather", "dequantize"][: 1 + is_int8]


@pytest.mark.parametrize("numbers", [1, 2, 3])
@pytest.mark.parametrize("is_constant", [False, True])
def test_parts_by_tuples_that_come_at_run_time(numbers: int, is_constant: bool) -> None:
    maker, sizes = Maker(), (3, 4, 5)
    g = maker.subgraph()
    x = g.constant(RNG.standard_normal(sizes)) if is_constant else g.input(sizes)
    indices, shape = g.input((2, 6, numbers), np.int32), (2, 6, *sizes[numbers:])
    g.outputs.append(g.op("GATHER_ND", [x, indices], shape, options=("GatherNdOptions", {})))
    values = RNG.integers(0, sizes[:numbers], (2, 6, numbers)).astype(np.int32)
    tables = () if is_constant else (RNG.standard_normal(sizes).astype(np.float32),)
    checked(maker, (*tables, values))


def test_shapes_are_known_at_import() -> None:
    """A shape that BROADCAST_ARGS works out, filled with zeros, takes no node but the sum's."""
    maker = Maker()
    g = maker.subgraph()
    x = g.input((1, 3, 5))
    shape = g.op("BROADCAST_ARGS", [g.constant([1, 3, 1], np.int32), g.constant([5], np.int32)], (3,), np.int32)
    ones = g.op("FILL", [shape, g.constant(1.5)], (1, 3, 5))
    zeros = g.op("ZEROS_LIKE", [x], (1, 3, 5))
    total = g.op("ADD", [ones, zeros], (1, 3, 5), np.float32, ("AddOptions", {}))
    g.outputs.append(g.op("ADD", [x, total], (1, 3, 5), np.float32, ("AddOptions", {})))
    assert len(checked(maker).nodes) == 1


def _branch(*, known: bool, taken: bool = True) -> Maker:
    """IF of x + 1 (with a constant of its own) and 2 x."""
    maker = Maker()
    g, then, otherwise = (maker.subgraph() for _ in range(3))
    flag = g.constant(taken, np.bool_) if known else g.input((), np.bool_)
    x = g.input((1, 4))
    for part, code, options, number in ((then, "ADD", "AddOptions", 1.0), (otherwise, "MUL", "MulOptions", 2.0)):
        y = part.input((1, 4))
        part.outputs.append(part.op(code, [y, part.constant(number)], (1, 4), np.float32, (options, {})))
    g.outputs += g.ops("IF", [flag, x], [(1, 4)], [np.float32],
                       ("IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2}))  # fmt: skip
    return maker


@pytest.mark.parametrize("taken", [False, True])
def test_a_branch_that_is_known(taken: bool) -> None:
    (node,) = checked(_branch(known=True, taken=taken)).nodes
    assert node.op.name == ("add" if taken else "mul")


def test_a_branch_that_varies_is_refused() -> None:
    assert "IF (layer 0, 't2') on bool: a branch that is chosen at run time" in refusal(_branch(known=False))


def _loop(turns: int, *, known: bool = True, code: str = "MUL") -> Maker:
    """While i < turns: i += 1, x = x w, w a constant of the body. The condition and the body are subgraphs."""
    maker = Maker()
    g, condition, body = (maker.subgraph() for _ in range(3))
    i = g.constant(0, np.int32) if known else g.input((), np.int32)
    x = g.input((1, 4))
    a, _ = condition.input((), np.int32), condition.input((1, 4))
    condition.outputs.append(condition.op("LESS", [a, condition.constant(turns, np.int32)], (), np.bool_))
    a, y = body.input((), np.int32), body.input((1, 4))
    body.outputs.append(body.op("ADD", [a, body.constant(1, np.int32)], (), np.int32, ("AddOptions", {})))
    options = ("MulOptions", {}) if code == "MUL" else None
    body.outputs.append(body.op(code, [y, body.constant([1.5, -0.5, 2.0, 1.0])], (1, 4), np.float32, options))
    made = g.ops("WHILE", [i, x], [(), (1, 4)], [np.int32, np.float32],
                 ("WhileOptions", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2}))  # fmt: skip
    g.outputs.append(g.op("NEG", [made[1]], (1, 4)))
    return maker


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_a_loop_whose_turns_are_known(turns: int) -> None:
    graph = checked(_loop(turns))
    assert [node.op.name for node in graph.nodes] == ["mul"] * turns + ["map"]
    assert len(list(graph.constants())) == min(turns, 1)


def test_loops_that_are_refused() -> None:
    assert "WHILE (layer 0, 't2') on int32: a loop whose turns are counted at run time" in refusal(
        _loop(3, known=False)
    )
    assert "a loop of 256 turns or more" in refusal(_loop(256))
    assert "in subgraph 2: ATAN2 (layer 4, 't5') on float32" in refusal(_loop(3, code="ATAN2"))


def test_a_subgraph_that_calls_itself_is_refused() -> None:
    maker = Maker()
    g, again = maker.subgraph(), maker.subgraph()
    for part in (g, again):
        x = part.input((1, 4))
        part.outputs += part.ops("IF", [part.constant(True, np.bool_), x], [(1, 4)], [np.float32],
                                 ("IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 1}))  # fmt: skip
    assert "more than 8 deep" in refusal(maker)
