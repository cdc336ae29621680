"""Armv6-M text: 16-bit instructions, whose operations take r0 to r7; r8 to r12 can be moved, added and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function

_INDENT = "    "
_NEAR_BYTES, _FAR_BYTES = 230, 1980
"""How far back a conditional and a plain branch are let reach: a little less than they can."""
_OPPOSITES = {"bne": "beq", "bhi": "bls", "blo": "bhs"}


class ThumbAssembly(Assembly):
    """Saves r4 to r11 by way of low registers; branches reach as far as they must."""

    @contextmanager
    def skip(self, branch: str) -> Iterator[None]:
        """The body is jumped over where the branch is taken."""
        label = self._label()
        self.op(f"{branch} {label}")
        yield
        self._lines.append(f"{label}:")

    @contextmanager
    def choice(self, branch: str, otherwise: Sequence[str]) -> Iterator[None]:
        """The body, or these instructions where the branch is taken."""
        other, end = self._label(), self._label()
        self.op(f"{branch} {other}")
        yield
        self.op(f"b {end}")
        self._lines.append(f"{other}:")
        self.ops(otherwise)
        self._lines.append(f"{end}:")

    @contextmanager
    def repeat(self, purpose: str, branch: str = "bne") -> Iterator[None]:
        """A loop; the body leaves the flags that `branch` looks at. It may lose lr where it is long."""
        with self.loop(purpose) as label:
            start = len(self._lines)
            yield
            size = sum(_size(line) for line in self._lines[start:])
            if size <= _NEAR_BYTES:
                self.op(f"{branch} {label}")
                return
            with self.skip(_OPPOSITES[branch]):
                self.op(f"b {label}" if size <= _FAR_BYTES else f"bl {label}")

    def constant(self, register: str, value: int) -> None:
        """A constant up to 2^31 into a low register, byte by byte."""
        zeros = 0
        while value > 255 and value % 2 == 0:
            value, zeros = value >> 1, zeros + 1
        parts = [value & 255]
        while value > 255:
            value >>= 8
            parts.append(value & 255)
        self.op(f"movs {{{register}}}, #{parts.pop()}")
        pending = 0
        while parts:
            pending += 8
            part = parts.pop()
            if part:
                self.op(f"lsls {{{register}}}, {{{register}}}, #{pending}")
                self.op(f"adds {{{register}}}, #{part}")
                pending = 0
        if pending + zeros:
            self.op(f"lsls {{{register}}}, {{{register}}}, #{pending + zeros}")

    def add(self, register: str, value: int, temporary: str) -> None:
        """Add a constant to a low register, through a temporary one where it is large."""
        if value == 0:
            return
        name = "adds" if value > 0 else "subs"
        if abs(value) <= 255:
            self.op(f"{name} {{{register}}}, #{abs(value)}")
            return
        self.constant(temporary, abs(value))
        self.op(f"{name} {{{register}}}, {{{register}}}, {{{temporary}}}")

    def pool(self) -> None:
        """Here lie the constants of `ldr register, =value` so far: where no instruction goes on."""
        self._lines.append(f"{_INDENT}.ltorg")

    def move_out(self, low: str, pointer_slot: int, value: int, temporary: str) -> None:
        """Add a constant to a pointer in the frame."""
        self.op(f"ldr {{{low}}}, [sp, #{pointer_slot}]")
        self.add(low, value, temporary)
        self.op(f"str {{{low}}}, [sp, #{pointer_slot}]")

    def function(self, prototype: str) -> Function:
        """The finished function; its frame is on the stack."""
        table = ", ".join(f"{register} {name}" for name, register in self._registers.items())
        text = [
            f"@ {self._title}",
            f"@ Registers: {table}.",
            f'    .section .text.{self.name}, "ax", %progbits',
            "    .p2align 2",
            f"    .global {self.name}",
            f"    .hidden {self.name}",
            f"    .type {self.name}, %function",
            "    .thumb_func",
            f"{self.name}:",
            "    push {r4-r7, lr}",
            *(f"    mov r{low}, r{high}" for low, high in zip(range(4, 8), range(8, 12), strict=True)),
            "    push {r4-r7}",
            *self._frame("sub"),
            *self._lines,
            *self._frame("add"),
            "    pop {r4-r7}",
            *(f"    mov r{high}, r{low}" for low, high in zip(range(4, 8), range(8, 12), strict=True)),
            "    pop {r4-r7, pc}",
            f"    .size {self.name}, . - {self.name}",
        ]
        return Function(self.name, "\n".join(text) + "\n", prototype)

    def _frame(self, operation: str) -> list[str]:
        """Instructions that make or give back the frame, in steps that an instruction can take."""
        steps, left = [], self._frame_bytes
        while left:
            step = min(left, 508)
            steps.append(f"    {operation} sp, #{step}")
            left -= step
        return steps

    def _label(self) -> str:
        self._labels += 1
        return f".L{self.name}_{self._labels - 1}"


def _size(line: str) -> int:
    """Bytes of a line: a label, a note or an instruction."""
    text = line.strip()
    if text.startswith("@") or text.split(" ")[0].endswith(":"):
        return 0
    return 4 if text.startswith("bl ") else 2
