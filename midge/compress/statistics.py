"""What calibration data say of a graph beyond ranges: moments of layers' inputs, magnitudes of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge.compress.equalize import channel_magnitudes
from midge.compress.rounding import Moments, moments
from midge.ir.graph import Graph, Node
from midge.ir.interpret import run_graph_values
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected

_MOST_SAMPLES = 32
_MOST_ROWS_A_SAMPLE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """`moments` by node, of layers with weights; `magnitudes` by value: the largest magnitude of each channel."""

    moments: dict[str, Moments]
    magnitudes: dict[str, np.ndarray]


def statistics(graph: Graph, samples: Sequence[Sequence[np.ndarray]]) -> Statistics:
    """Of up to 32 samples, evenly taken."""
    step = max(len(samples) // _MOST_SAMPLES, 1)
    rows: dict[str, list[np.ndarray]] = {}
    magnitudes: dict[str, np.ndarray] = {}
    for sample in samples[::step]:
        values = run_graph_values(graph, sample)
        channel_magnitudes(graph, values, magnitudes)
        for node in graph.nodes:
            found = input_rows(graph, node, values[node.inputs[0] or ""]) if node.inputs else None
            if found is not None:
                thin = max(found.shape[1] // _MOST_ROWS_A_SAMPLE, 1)
                rows.setdefault(node.name, []).append(found[:, ::thin])
    return Statistics({name: moments(np.concatenate(parts, axis=1)) for name, parts in rows.items()}, magnitudes)


def input_rows(graph: Graph, node: Node, x: np.ndarray) -> np.ndarray | None:
    """What a layer's weights multiply, [groups, rows, inputs]; None for layers without weights, or with groups."""
    op = node.op
    if not isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected) or x.dtype != np.float32:
        return None
    weights = graph.type(node.inputs[1] or "")
    if isinstance(op, FullyConnected):
        return x.reshape(1, -1, weights.shape[1])
    window = op.window(weights)
    taps = np.stack([tap for _, _, tap in window.taps(x, 0.0)], axis=2)
    if isinstance(op, Conv2D):
        return taps.reshape(1, -1, taps.shape[2] * taps.shape[3]) if weights.shape[3] == x.shape[3] else None
    flat = taps.reshape(-1, *taps.shape[2:]).transpose(2, 0, 1)
    return np.repeat(flat, op.depth_multiplier, axis=0)


def flat_weights(node: Node, weights: np.ndarray) -> np.ndarray:
    """Weights as [outputs, inputs], in the order of `input_rows`."""
    if isinstance(node.op, DepthwiseConv2D):
        return weights.reshape(-1, weights.shape[3]).T
    return weights.reshape(weights.shape[0], -1)


def unflat_weights(node: Node, flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The way back."""
    return flat.T.reshape(shape) if isinstance(node.op, DepthwiseConv2D) else flat.reshape(shape)
