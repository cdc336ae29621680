"""Four networks, each written in PyTorch and in Keras, with the same weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch
from keras import layers
from torch import nn


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, as Keras' "same" has it."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Block(nn.Module):
    """Convolution with "same" padding, batch normalisation, and a rectifier where asked."""

    def __init__(self, size: tuple[int, int], inputs: int, outputs: int, kernel: tuple[int, int] = (3, 3),
                 stride: int = 1, groups: int = 1, relu: bool = True) -> None:  # fmt: skip
        super().__init__()
        (top, bottom), (left, right) = (same(n, k, stride) for n, k in zip(size, kernel, strict=True))
        even = (top, left) == (bottom, right)
        self.pad = nn.Identity() if even else nn.ZeroPad2d((left, right, top, bottom))
        padding = (top, left) if even else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(self.pad(x))))


def block(x: Any, name: str, outputs: int, kernel: tuple[int, int] = (3, 3), stride: int = 1, depthwise: bool = False,
          relu: bool = True) -> Any:  # fmt: skip
    """The same in Keras."""
    if depthwise:
        y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    else:
        y = layers.Conv2D(outputs, kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    y = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_norm")(y)
    return layers.ReLU()(y) if relu else y


class KeywordsTorch(nn.Module):
    """DS-CNN: a convolution, four separable blocks, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Block((49, 10), 1, 64, (10, 4), 2)
        self.depth = nn.ModuleList(Block((25, 5), 64, 64, groups=64) for _ in range(4))
        self.point = nn.ModuleList(Block((25, 5), 64, 64, (1, 1)) for _ in range(4))
        self.head = nn.Linear(64, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for depth, point in zip(self.depth, self.point, strict=True):
            x = point(depth(x))
        return torch.softmax(self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)), 1)


def keywords_keras() -> keras.Model:
    x = keras.Input((49, 10, 1))
    y = block(x, "first", 64, (10, 4), 2)
    for k in range(4):
        y = block(block(y, f"depth_{k}", 64, depthwise=True), f"point_{k}", 64, (1, 1))
    y = layers.Dense(12, activation="softmax", name="head")(layers.GlobalAveragePooling2D()(y))
    return keras.Model(x, y)


PLAN = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), *[(128, 128, 1)] * 5,
        (128, 256, 2), (256, 256, 1)]  # fmt: skip
"""MobileNetV1-0.25: channels in and out, stride of each separable block."""


class MobileTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, size = Block((96, 96), 3, 8, stride=2), 48
        depth, point = [], []
        for inputs, outputs, stride in PLAN:
            depth.append(Block((size, size), inputs, inputs, stride=stride, groups=inputs))
            size = -(-size // stride)
            point.append(Block((size, size), inputs, outputs, (1, 1)))
        self.depth, self.point, self.head = nn.ModuleList(depth), nn.ModuleList(point), nn.Linear(256, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for depth, point in zip(self.depth, self.point, strict=True):
            x = point(depth(x))
        return torch.softmax(self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)), 1)


def mobile_keras() -> keras.Model:
    x = keras.Input((96, 96, 3))
    y = block(x, "first", 8, stride=2)
    for k, (inputs, outputs, stride) in enumerate(PLAN):
        y = block(y, f"depth_{k}", inputs, stride=stride, depthwise=True)
        y = block(y, f"point_{k}", outputs, (1, 1))
    y = layers.Dense(2, activation="softmax", name="head")(layers.GlobalAveragePooling2D()(y))
    return keras.Model(x, y)


STACKS = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]


class ResTorch(nn.Module):
    """ResNet-8: three residual stacks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, size = Block((32, 32), 3, 16), 32
        a, b, side = [], [], []
        for inputs, outputs, stride in STACKS:
            a.append(Block((size, size), inputs, outputs, stride=stride))
            side.append(
                Block((size, size), inputs, outputs, (1, 1), stride, relu=False) if stride > 1 else nn.Identity()
            )
            size //= stride
            b.append(Block((size, size), outputs, outputs, relu=False))
        self.a, self.b, self.side = nn.ModuleList(a), nn.ModuleList(b), nn.ModuleList(side)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for a, b, side in zip(self.a, self.b, self.side, strict=True):
            x = torch.relu(b(a(x)) + side(x))
        return torch.softmax(self.head(nn.functional.avg_pool2d(x, 8).flatten(1)), 1)


def res_keras() -> keras.Model:
    x = keras.Input((32, 32, 3))
    y = block(x, "first", 16)
    for k, (_, outputs, stride) in enumerate(STACKS):
        z = block(block(y, f"a_{k}", outputs, stride=stride), f"b_{k}", outputs, relu=False)
        y = y if stride == 1 else block(y, f"side_{k}", outputs, (1, 1), stride, relu=False)
        y = layers.ReLU()(layers.Add()([z, y]))
    y = layers.Flatten()(layers.AveragePooling2D(8)(y))
    return keras.Model(x, layers.Dense(10, activation="softmax", name="head")(y))


class MotionTorch(nn.Module):
    """An LSTM over 6 samples of a six-axis sensor; the last of its sequence counts, as in Keras."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(6, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(self.lstm(x)[0][:, -1]), 1)


def motion_keras() -> keras.Model:
    x = keras.Input((6, 6))
    return keras.Model(x, layers.Dense(5, activation="softmax", name="head")(layers.LSTM(12, name="lstm")(x)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], keras.Model], tuple[int, ...]]] = {
    "ds-cnn": (KeywordsTorch, keywords_keras, (1, 1, 49, 10)),
    "mobilenet-v1-0.25": (MobileTorch, mobile_keras, (1, 3, 96, 96)),
    "resnet-8": (ResTorch, res_keras, (1, 3, 32, 32)),
    "lstm": (MotionTorch, motion_keras, (1, 6, 6)),
}


def make(name: str) -> tuple[nn.Module, keras.Model, torch.Tensor]:
    """The two forms of a network, with weights from a seed, and an input of its shape."""
    torch_form, keras_form, shape = NETWORKS[name]
    torch.manual_seed(4)
    module, model = torch_form().eval(), keras_form()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for array in (layer.weight, layer.running_var):
                nn.init.uniform_(array, 0.5, 1.5)
            for array in (layer.bias, layer.running_mean):
                nn.init.uniform_(array, -0.3, 0.3)
    parts = {key.replace(".", "_"): part for key, part in module.named_modules()}
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(weights_of(parts[layer.name]))
    return module, model, torch.zeros(shape)


def weights_of(part: nn.Module) -> list[np.ndarray]:
    """A layer's weights as Keras lists them."""
    arrays = {key: array.detach().numpy() for key, array in part.state_dict().items()}
    if isinstance(part, nn.Conv2d):
        order = (2, 3, 0, 1) if part.groups > 1 else (2, 3, 1, 0)
        return [arrays["weight"].transpose(order)]
    if isinstance(part, nn.BatchNorm2d):
        return [arrays[key] for key in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(part, nn.LSTM):
        return [arrays["weight_ih_l0"].T, arrays["weight_hh_l0"].T, arrays["bias_ih_l0"] + arrays["bias_hh_l0"]]
    return [arrays["weight"].T, arrays["bias"]]
