"""Logistic and tanh of int16 in C: straight lines between the entries of a table that both share."""

from __future__ import annotations

from typing import Literal

from midge.ir.types import TensorType
from midge.kernels import render
from midge.kernels.base import Function
from midge.kernels.unary import Expression
from midge.ops.tables_s16 import input_factor, sigmoid_table


def sigmoid_lines(function: Literal["logistic", "tanh"], x: TensorType) -> Expression:
    """The function of `x[i]` in Q0.15; x has one scale and zero point 0."""
    assert x.quantization is not None
    factor, shift = input_factor(x.quantization.scale, doubled=function == "tanh")
    place = f"x[i] * {factor}"
    if shift:
        place = f"({place} + {1 << (shift - 1)}) >> {shift}"
    lines = render.function("common/sigmoid_lines.c.j2", "midge_sigmoid_lines", entries=sigmoid_table().tolist())
    helper: Function = render.helper(f"{function}_lines")
    return Expression(f"(int16_t){helper.name}({place})", (lines, helper))
