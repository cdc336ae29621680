"""Rows in columns: what convolutions that share a function read, on an emulated core; and how long their loops are."""

from __future__ import annotations

import numpy as np
import pytest

from midge.ir.types import DType, Quantization, TensorType
from midge.kernels.conv2d.column_order import (
    GROUP,
    Kind,
    arguments,
    channel_order,
    column_values,
    kind_of,
    scratch_bytes,
)
from midge.kernels.thumb_size import thumb_bytes
from midge.kernels.window import Window
from midge.ops.base import Padding

_ROWS = 7


def _window(channels: int, kh: int, kw: int, stride: int, columns: int = 9) -> Window:
    quantization = Quantization((1.0,), (0,), None)
    x = TensorType(DType.INT8, (1, _ROWS, columns, channels), quantization)
    y = TensorType(DType.INT8, (1, 1, (columns - kw) // stride + 1, 4), quantization)
    return Window(x, y, kh, kw, stride, stride, 1, 1, Padding(0, 0, 0, 0))


@pytest.mark.parametrize(("channels", "kh", "kind"), [
    (1, 1, Kind.ORDERED), (1, 3, Kind.SINGLE), (1, 10, Kind.SINGLE), (3, 3, Kind.TRIPLE), (3, 1, Kind.ORDERED),
    (3, 4, Kind.SWAPPED), (4, 1, Kind.SWAPPED), (6, 3, Kind.ORDERED), (7, 3, Kind.SWAPPED), (16, 3, Kind.SWAPPED),
    (57, 1, Kind.ORDERED),
])  # fmt: skip
def test_each_shape_has_its_kind(channels: int, kh: int, kind: Kind) -> None:
    window = _window(channels, kh, kh, 1)
    assert kind_of(window) is kind
    assert sorted(channel_order(window)) == list(range(channels))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kh", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8])
def test_windows_of_kernels_of_several_rows_begin_with_a_word(channels: int, kh: int, stride: int) -> None:
    window = _window(channels, kh, kh, stride)
    values = kh * channels
    assert column_values(window) in (values, values + 1)
    if kh > 1:
        assert 2 * stride * column_values(window) % 4 == 0
    assert scratch_bytes(window) >= 2 * (window.x.columns * column_values(window) + GROUP)
    assert scratch_bytes(window) % 4 == 0


def test_a_kernel_of_one_row_is_one_long_pixel() -> None:
    assert arguments(_window(5, 1, 3, 1)) == (1, 1 << 16 | 45)
    assert arguments(_window(8, 3, 3, 1)) == (9, 3 << 16 | 8)
    assert arguments(_window(1, 3, 3, 1)) == (3, 3 << 16 | 1)


@pytest.mark.parametrize(("instruction", "bytes_"), [
    ("ldr r4, [sp, #60]", 2), ("ldr r8, [sp, #60]", 4), ("ldr r3, [r0, r7]", 2), ("ldr r5, [r0, r7, lsl #1]", 4),
    ("ldr r2, [r0], #4", 4), ("ldmia r1!, {r2, r3, r4}", 2), ("ldmia r1!, {r2, r8}", 4), ("mov r9, r8", 2),
    ("mov r9, #0", 4), ("add r6, r0", 2), ("adds r1, #24", 2), ("smlad r8, r2, r4, r8", 4), ("sxtb16 r4, r4", 4),
    ("strb r8, [r2]", 4), ("strb r3, [r2, #1]", 2), ("cmp r0, r6", 2), ("bne .L0", 4),
])  # fmt: skip
def test_sizes_of_instructions(instruction: str, bytes_: int) -> None:
    assert thumb_bytes(instruction) == bytes_


def test_swapped_groups_have_even_channels_first() -> None:
    assert channel_order(_window(8, 3, 3, 1)) == [0, 2, 1, 3, 4, 6, 5, 7]
    assert channel_order(_window(7, 3, 3, 1)) == [0, 2, 1, 3, 4, 6, 5]
    assert np.array_equal(channel_order(_window(3, 3, 3, 1)), [0, 2, 1])
