"""Functions of one value in plain C99: int8 by a table, float32 by formulas that need no library."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import Function as CFunction
from midge.kernels.floating import exp_helpers
from midge.kernels.unary import Expression, MapRows, TableRows
from midge.ops.map import Function, Map

_PLAIN = {
    Function.ABS: "x[i] < 0.0f ? -x[i] : x[i]",
    Function.HARD_SWISH: "x[i] * (x[i] <= -3.0f ? 0.0f : x[i] >= 3.0f ? 6.0f : x[i] + 3.0f) / 6.0f",
    Function.NEG: "-x[i]",
    Function.RECIPROCAL: "1.0f / x[i]",
    Function.SIGN: "x[i] > 0.0f ? 1.0f : x[i] < 0.0f ? -1.0f : x[i]",
    Function.SQUARE: "x[i] * x[i]",
}
_CALLS = {
    Function.ATAN: ("midge_atan_f32(x[i])", ("atan_f32",)),
    Function.CEIL: ("-midge_floor_f32(-x[i])", ("trunc_f32", "floor_f32")),
    Function.COS: ("midge_sin_f32(x[i], 1)", ("sin_f32",)),
    Function.FLOOR: ("midge_floor_f32(x[i])", ("trunc_f32", "floor_f32")),
    Function.LOG: ("midge_log_f32(x[i])", ("log_f32",)),
    Function.ROUND: ("midge_rint_f32(x[i])", ("rint_f32",)),
    Function.RSQRT: ("1.0f / midge_sqrt_f32(x[i])", ("sqrt_f32",)),
    Function.SIN: ("midge_sin_f32(x[i], 0)", ("sin_f32",)),
    Function.SQRT: ("midge_sqrt_f32(x[i])", ("sqrt_f32",)),
    Function.TRUNC: ("midge_trunc_f32(x[i])", ("trunc_f32",)),
}
_WITH_EXP = {
    Function.ELU: ("midge_elu_f32(x[i])", ("elu_f32",)),
    Function.ERF: ("midge_erf_f32(x[i])", ("erf_f32",)),
    Function.EXP: ("midge_exp_f32(x[i])", ()),
    Function.GELU: ("0.5f * x[i] * (1.0f + midge_erf_f32(x[i] * 0x1.6a09e6p-1f))", ("erf_f32",)),
    Function.GELU_TANH: (
        "0.5f * x[i] * (1.0f + midge_tanh_f32(0x1.988454p-1f * (x[i] + 0.044715f * x[i] * x[i] * x[i])))",
        ("tanh_f32",),
    ),
}


class MapS8(TableRows):
    """Rows of int8 through a table."""

    name: ClassVar[str] = "map_s8_table__portable"
    op = Map


class MapF32(MapRows):
    """Rows of float32."""

    name: ClassVar[str] = "map_f32_rows__portable"
    op = Map

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.FLOAT32 else "not float32"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert isinstance(node.op, Map)
        function = node.op.function
        if function in _PLAIN:
            return Expression(_PLAIN[function])
        before: tuple[CFunction, ...] = exp_helpers() if function in _WITH_EXP else ()
        text, helpers = _WITH_EXP[function] if function in _WITH_EXP else _CALLS[function]
        return Expression(text, (*before, *(render.helper(name) for name in helpers)))


KERNELS = (MapS8(), MapF32())
