"""The assembly that puts rows in columns (`column_order` says where).

`void name(const int8_t **rows, int16_t *y, uint32_t columns, uint32_t sizes, uint32_t zero)`: `sizes` are rows of taps
<< 16 | channels; `zero` is the zero point, negative, in both halves of a word. The pointers in `rows` may be moved.
"""

from __future__ import annotations

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.conv2d.column_order import GROUP, Kind, kind_of, padding_bytes
from midge.kernels.window import Window

_REGISTERS = {
    "rows": "r0", "y": "r1", "columns": "r2", "sizes": "r3", "x": "r4", "a": "r5", "even": "r6", "odd": "r7",
    "zero": "r8", "row": "r9", "taps": "r10", "left": "r11", "channels": "r12",
}  # fmt: skip
_TRIPLE_REGISTERS = _REGISTERS | {"p0": "r0", "p1": "r3", "p2": "r4", "a0": "r9", "a1": "r10", "a2": "r11"}
_ZERO_AT = 36
"""Behind the saved registers: the fifth argument."""


def function(prefix: str, window: Window) -> Function:
    """The function for a convolution; others with as many rows, channels or padding have the same."""
    kind, padding = kind_of(window), padding_bytes(window)
    rows = f"{window.kh}" if kind in (Kind.SINGLE, Kind.TRIPLE) else ""
    name = f"{prefix}_columns_{kind.value}{rows}{f'p{padding}' if padding else ''}_s8__armv7em"
    registers = _TRIPLE_REGISTERS if kind is Kind.TRIPLE else _REGISTERS
    code = Assembly(name, "Widen rows and put them in columns: q - zero point in 16 bits.", registers)
    code.op(f"ldr {{zero}}, [sp, #{_ZERO_AT}]")
    if kind is Kind.TRIPLE:
        _triple(code, window.kh, padding)
    elif kind is Kind.SINGLE:
        _single(code, window.kh, padding)
    else:
        _pixels(code, padding, swaps=kind is Kind.SWAPPED)
    return code.function(
        f"void {name}(const int8_t **rows, int16_t *y, uint32_t columns, uint32_t sizes, uint32_t zero)"
    )


def _widen(code: Assembly, source: str) -> None:
    """Four bytes: the even ones of them, and the odd ones."""
    code.ops([f"sxtab16 {{even}}, {{zero}}, {{{source}}}", f"sxtab16 {{odd}}, {{zero}}, {{{source}}}, ror #8"])


def _pixels(code: Assembly, padding: int, *, swaps: bool) -> None:
    """Pixel by pixel, each in groups."""
    code.ops(["uxth {channels}, {sizes}", "lsrs {sizes}, #16"])
    with code.loop("next column") as column:
        code.ops(["mov {row}, {rows}", "mov {taps}, {sizes}"])
        with code.loop("next row") as row:
            code.ops(["ldr {x}, [{row}]", "mov {left}, {channels}", "add {a}, {x}, {left}", "str {a}, [{row}], #4"])
            with code.loop("next four values") as group:
                code.op("ldr {a}, [{x}], #4")
                _widen(code, "a")
                if not swaps:
                    code.ops(["pkhbt {a}, {even}, {odd}, lsl #16", "pkhtb {odd}, {odd}, {even}, asr #16"])
                first = "even" if swaps else "a"
                code.ops([f"subs {{left}}, #{GROUP}", f"str {{{first}}}, [{{y}}], #4", "str {odd}, [{y}], #4"])
                code.op(f"bhi {group}")
            code.ops(["add {y}, {y}, {left}, lsl #1", "subs {taps}, #1", f"bne {row}"])
        if padding:
            code.op(f"adds {{y}}, #{padding}")
        code.ops(["subs {columns}, #1", f"bne {column}"])


def _triple(code: Assembly, rows: int, padding: int) -> None:
    """Column by column, all rows of it written out."""
    code.op("ldm {rows}, {{" + ", ".join(f"{{p{row}}}" for row in range(rows)) + "}}")
    with code.loop("next column") as column:
        code.ops([f"ldr {{a{row}}}, [{{p{row}}}], #3" for row in range(rows)])
        for row in range(rows):
            _widen(code, f"a{row}")
            last = 2 + (padding if row == rows - 1 else 0)
            code.ops(["str {even}, [{y}], #4", f"strh {{odd}}, [{{y}}], #{last}"])
        code.ops(["subs {columns}, #1", f"bne {column}"])


def _single(code: Assembly, rows: int, padding: int) -> None:
    """Four columns at a time, row by row."""
    stride = 2 * rows + padding
    with code.loop("next four columns") as column:
        code.ops(["mov {row}, {rows}", f"mov {{taps}}, #{rows}"])
        with code.loop("next row") as row:
            code.ops(["ldr {x}, [{row}]", "ldr {a}, [{x}], #4", "str {x}, [{row}], #4"])
            _widen(code, "a")
            code.ops(["strh {even}, [{y}]", f"strh {{odd}}, [{{y}}, #{stride}]", "lsrs {even}, #16", "lsrs {odd}, #16"])
            code.ops([f"strh {{even}}, [{{y}}, #{2 * stride}]", f"strh {{odd}}, [{{y}}, #{3 * stride}]"])
            code.ops(["adds {y}, #2", "subs {taps}, #1", f"bne {row}"])
        code.add("y", 4 * stride - 2 * rows, "a")
        code.ops(["subs {columns}, #1", f"bne {column}"])
