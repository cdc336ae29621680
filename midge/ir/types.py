"""Types of tensors: element type, shape, quantisation."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np


class DType(enum.Enum):
    """Element type. `value` is the name in text form; `suffix` the one in kernel and variable names."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.value)

    @property
    def bytes(self) -> int:
        return self.numpy.itemsize

    @property
    def suffix(self) -> str:
        return _SUFFIXES[self]

    @property
    def c_name(self) -> str:
        return "float" if self is DType.FLOAT32 else "uint8_t" if self is DType.BOOL else f"{self.value}_t"

    @property
    def is_float(self) -> bool:
        return self is DType.FLOAT32

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        info = np.iinfo(self.numpy)
        return int(info.min), int(info.max)

    @staticmethod
    def of(array: np.ndarray) -> DType:
        return DType(array.dtype.name)


_SUFFIXES = {
    DType.INT8: "s8", DType.UINT8: "u8", DType.INT16: "s16", DType.INT32: "s32",
    DType.INT64: "s64", DType.FLOAT32: "f32", DType.BOOL: "b8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantisation `real = scale * (q - zero_point)`.

    One scale and zero point for the whole tensor (`axis is None`), or one for each index along `axis`.
    Scales are the exact float32 values of the model, held as Python floats.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None

    @property
    def scale(self) -> float:
        """The scale of a per-tensor quantisation."""
        assert self.axis is None, "per-channel quantisation has no single scale"
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a per-tensor quantisation."""
        assert self.axis is None, "per-channel quantisation has no single zero point"
        return self.zero_points[0]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type, shape (batch first, channels last) and quantisation of a tensor."""

    dtype: DType
    shape: tuple[int, ...]
    quantization: Quantization | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes

    @property
    def rows(self) -> int:
        """Rows in the row contract: the second dimension of [1, H, W, C] and [1, T, C], else 1."""
        return self.shape[1] if len(self.shape) >= 3 and self.shape[0] == 1 else 1

    @property
    def columns(self) -> int:
        """Pixels of a row, so that rows * columns * channels are all elements."""
        return self.elements // (self.rows * self.channels)

    @property
    def channels(self) -> int:
        """Values of a pixel: the last dimension (1 for a scalar)."""
        return self.shape[-1] if self.shape else 1

    @property
    def row_elements(self) -> int:
        return self.columns * self.channels

    @property
    def zero_point(self) -> int:
        """The integer that stands for real zero; 0 where there is no quantisation."""
        return self.quantization.zero_point if self.quantization is not None else 0
