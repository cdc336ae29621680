"""Valid models of the formats that test material has too few of: .keras, .h5 and .pt2, small, from one seed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch
from fuzz_archives import members, rezipped
from keras import layers
from torch import nn

SEED = 5


def write(folder: Path) -> list[Path]:
    """Write them all; returns the files. They are the same bytes each time, with the same versions of the packages."""
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras would rather not write .h5
    paths = []
    for name, module, shape in _modules():
        torch.manual_seed(SEED)
        paths.append(folder / f"{name}.pt2")
        program = torch.export.export(module().eval(), (torch.zeros(shape),))
        torch.export.save(program, str(paths[-1]))
        paths[-1].write_bytes(rezipped(members(paths[-1].read_bytes())))
    for name, make in _models().items():
        keras.utils.clear_session()  # names of layers count on from there
        keras.utils.set_random_seed(SEED)
        model = make()
        for suffix in (".keras", ".h5"):
            paths.append(folder / f"{name}{suffix}")
            model.save(str(paths[-1]))
        whole = paths[-2].read_bytes()
        found = members(whole)
        found["metadata.json"] = json.dumps(json.loads(found["metadata.json"]) | {"date_saved": ""}).encode()
        paths[-2].write_bytes(rezipped(found))
    return sorted(paths)


class _Images(nn.Module):
    """What image networks are made of: strides, groups, normalisation, pools, a residual edge."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depth, self.point = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.relu(x + self.point(self.depth(x)))
        x = torch.cat([x, nn.functional.max_pool2d(x, 3, 1, 1)], 1)[:, 2:10]
        return torch.softmax(self.head(x.mean((2, 3))), 1)


class _Series(nn.Module):
    """What networks over time are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(5, 3)
        self.lstm = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.leaky_relu(self.conv(x), 0.1).transpose(1, 2)
        return torch.sigmoid(self.head(self.lstm(x)[0][:, -1])) * 2 - 1


class _Decoder(nn.Module):
    """Transposed convolution, resizing, padding, choices."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.last = nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.interpolate(self.up(x), scale_factor=2.0, mode="nearest")
        x = self.last(nn.functional.pad(x, (1, 1, 1, 1)))
        return torch.where(x > 0, x, nn.functional.gelu(x)).argmax(1)


def _modules() -> list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]]:
    return [("images", _Images, (1, 3, 12, 12)), ("series", _Series, (1, 4, 6)), ("decoder", _Decoder, (1, 4, 4, 4))]


def _models() -> dict[str, Callable[[], Any]]:
    return {"images_keras": _images, "series_keras": _series, "layers_keras": _layers}


def _images() -> Any:
    x = keras.Input((12, 12, 3))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, 2, "same", use_bias=False)(x)))
    z = layers.Conv2D(8, 1)(layers.DepthwiseConv2D(3, 1, "same")(y))
    y = layers.Concatenate()([layers.ReLU()(layers.Add()([y, z])), layers.MaxPooling2D(3, 1, "same")(y)])
    return keras.Model(x, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(y)))


def _series() -> Any:
    stack = [keras.Input((6, 4)), layers.Conv1D(6, 3, padding="same"), layers.LeakyReLU(negative_slope=0.1),
             layers.GRU(5), layers.Dense(3, activation="sigmoid")]  # fmt: skip
    return keras.Sequential(stack)


def _layers() -> Any:
    stack = [keras.Input((4, 4, 4)), layers.Conv2DTranspose(4, 2, 2), layers.UpSampling2D(2), layers.ZeroPadding2D(1),
             layers.SeparableConv2D(3, 3, activation="gelu"), layers.Cropping2D(1), layers.AveragePooling2D(2),
             layers.Flatten(), layers.Dropout(0.5), layers.Dense(2, activation="tanh")]  # fmt: skip
    return keras.Sequential(stack)
