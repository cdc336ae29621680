"""Make a network whose quantisation is broken, and calibration data for it: depthwise layers with wild ranges.

As a MobileNetV2 comes out of training: batch normalisation, folded into the convolutions, has left channels of a
depthwise layer whose weights and results differ by a factor of several hundred, though the network computes the same as
a tame one. One scale for a whole tensor then leaves the small channels a step or two. README.md says what to do.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE, BLOCKS, CLASSES = 16, 16, 3, 10
SPREAD = 300.0
"""The largest channel's factor over the smallest one's."""


@dataclass
class Network:
    """Nodes and constants so far."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weights(self, *shape: int) -> np.ndarray:
        """He initialisation."""
        return self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))


def block(network: Network, x: str) -> str:
    """Expand, depthwise, project, add: the inverted residual of MobileNetV2, its expanded channels scaled apart."""
    wide = CHANNELS * 2
    scale = np.exp(network.rng.uniform(0, np.log(SPREAD), wide))
    expand, depthwise = network.weights(wide, CHANNELS, 1, 1), network.weights(wide, 1, 3, 3)
    project = network.weights(CHANNELS, wide, 1, 1)
    bias = network.rng.standard_normal(wide) * 0.1
    y = network.op("Relu", network.op("Conv", x, network.constant(expand), network.constant(bias)))
    # What the depthwise layer's channels gain, the projection takes back.
    y = network.op("Conv", y, network.constant(depthwise * scale[:, None, None, None]),
                   network.constant(bias * scale), group=wide, pads=[1, 1, 1, 1])  # fmt: skip
    y = network.op("Relu", y)
    y = network.op("Conv", y, network.constant(project / scale[None, :, None, None]))
    return network.op("Add", x, y)


def make(seed: int = 1) -> onnx.ModelProto:
    """The network: a first convolution, some blocks, the mean of each channel, a classifier."""
    network = Network(np.random.default_rng(seed))
    stem = network.constant(network.weights(CHANNELS, 3, 3, 3))
    x = network.op("Relu", network.op("Conv", "image", stem, pads=[1, 1, 1, 1], strides=[2, 2]))
    for _ in range(BLOCKS):
        x = block(network, x)
    x = network.op("Flatten", network.op("GlobalAveragePool", x))
    x = network.op("Gemm", x, network.constant(network.weights(CLASSES, CHANNELS)), transB=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    scores = helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(network.nodes, "wild", [image], [scores], network.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(count: int, seed: int = 2) -> np.ndarray:
    """float32 [count, height, width, 3]: smooth random images, channels last as Midge's graph has them."""
    rng = np.random.default_rng(seed)
    rough = rng.standard_normal((count, SIZE // 4, SIZE // 4, 3))
    return rough.repeat(4, axis=1).repeat(4, axis=2).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    folder = parser.parse_args().folder
    onnx.save(make(), folder / "wild.onnx")
    np.savez(folder / "samples.npz", x=samples(32))
    print(f"written: {folder / 'wild.onnx'}, {folder / 'samples.npz'}")


if __name__ == "__main__":
    main()
