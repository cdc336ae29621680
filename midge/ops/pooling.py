"""What average and maximum pooling share: the type rule and the test table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Padding, Types, is_activation, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import Window, check_window


def check_pool(op: Op, window: Window, inputs: Types, output: TensorType) -> None:
    """The type rule of pools: 8 or 16 bits with the same quantisation on both sides, or float32."""
    op.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
    x = inputs[0]
    assert x is not None
    op.expect(
        x.dtype is DType.FLOAT32 or is_activation(x) or is_quantized(x, DType.UINT8),
        f"an input of type {x.dtype.value}",
        "float32, or int8, uint8 or int16 with one scale",
    )
    op.expect(output.dtype is x.dtype, f"an output of type {output.dtype.value}", x.dtype.value)
    op.expect(
        output.quantization == x.quantization, "an output quantised differently", "the input's scale and zero point"
    )
    check_window(op, window, x, output, x.shape[-1])
    pad = window.padding
    op.expect(max(pad.top, pad.bottom) < window.kernel_h and max(pad.left, pad.right) < window.kernel_w,
              f"{pad}, a kernel of {window.kernel_h}x{window.kernel_w}", "every window to touch the input")  # fmt: skip


def pool_cases(make_op: Callable[..., Op]) -> tuple[Case, ...]:
    """The test table; make_op takes the fields of the operator."""

    def row(label: str, h: int, w: int, c: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1),
            padding: tuple[int, int, int, int] = (0, 0, 0, 0), activation: Activation = Activation.NONE,
            zero_point: int = -4, dtype: DType = DType.INT8) -> Case:  # fmt: skip
        op = make_op(*kernel, *stride, Padding(*padding), activation)
        rows, columns = Window(*kernel, *stride, 1, 1, Padding(*padding)).output_size(h, w)

        def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
            if dtype is DType.FLOAT32:
                return [("x", floats((1, h, w, c)), None)], floats((1, rows, columns, c))
            scale = scale_of(rng, 0.08)
            y = quantized((1, rows, columns, c), scale, zero_point, dtype)
            return [("x", quantized((1, h, w, c), scale, zero_point, dtype), None)], y

        return case(label, op, make)

    relu, relu6, clamp1 = Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1
    return (
        *(row(f"2x2_c{c}_w{w}", 4, w, c, (2, 2), (2, 2)) for c, w in ((1, 8), (3, 5), (4, 2), (7, 4), (8, 8), (9, 2))),
        row("global", 5, 4, 8, (5, 4), (5, 4)),
        row("global_wide", 25, 5, 9, (25, 5), (25, 5)),
        row("wide_windows", 4, 21, 8, (2, 9), (2, 10)),
        row("3x3_same", 4, 5, 4, (3, 3), padding=(1, 1, 1, 1)),
        row("3x3_stride2_same", 8, 7, 3, (3, 3), (2, 2), padding=(0, 1, 1, 1)),
        row("uneven", 6, 9, 5, (2, 3), (1, 2), padding=(0, 1, 1, 0)),
        row("stride_past_kernel", 7, 7, 4, (2, 2), (3, 3)),
        row("relu", 4, 4, 4, (2, 2), (2, 2), activation=relu),
        row("relu6", 4, 4, 4, (2, 2), (2, 2), activation=relu6, zero_point=-128),
        row("relu_n1_to_1", 4, 4, 3, (2, 2), (1, 1), activation=clamp1, zero_point=0),
        row("zero_point_high", 4, 4, 8, (3, 3), padding=(1, 1, 1, 1), zero_point=127),
        row("zero_point_low", 4, 4, 8, (3, 3), padding=(1, 1, 1, 1), zero_point=-128),
        row("u8", 4, 5, 3, (2, 2), (2, 2), zero_point=119, dtype=DType.UINT8),
        row("u8_same_relu6", 4, 5, 4, (3, 3), padding=(1, 1, 1, 1), activation=relu6, zero_point=7, dtype=DType.UINT8),
        row("u8_global", 6, 4, 8, (6, 4), (6, 4), zero_point=128, dtype=DType.UINT8),
        row("s16", 4, 5, 3, (2, 2), (2, 2), zero_point=0, dtype=DType.INT16),
        row("s16_same_relu", 4, 5, 4, (3, 3), padding=(1, 1, 1, 1), activation=relu, zero_point=0, dtype=DType.INT16),
        row("s16_global", 5, 4, 8, (5, 4), (5, 4), zero_point=0, dtype=DType.INT16),
        row("float", 5, 5, 3, (2, 2), (2, 2), dtype=DType.FLOAT32),
        row("float_same_relu6", 4, 4, 5, (3, 3), padding=(1, 1, 1, 1), activation=relu6, dtype=DType.FLOAT32),
    )  # fmt: skip
