"""RV32IM text in GNU syntax; the assembler takes compressed forms by itself where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function

REGISTERS = (
    "a0", "a1", "a2", "a3", "a4", "a5", "s0", "s1", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "ra",
    "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
)  # fmt: skip
"""All that a function may use, those first that compressed loads and stores can name, then those free to change. `gp`
and `tp` belong to the platform."""
_SAVED = ("ra", *(f"s{number}" for number in range(12)))
_STACK_ALIGNMENT = 16
MOST_OFFSET = 2047
"""Of a load, a store or an addition."""


class RiscvAssembly(Assembly):
    """Saves what the ABI wants saved; rare cases stand behind the function's end."""

    comment: ClassVar[str] = "#"

    def __init__(self, name: str, title: str, registers: Sequence[str], frame_bytes: int = 0) -> None:
        """`registers`: names, in the order of importance of short instructions."""
        if len(registers) > len(REGISTERS):
            raise ValueError(f"{len(registers)} registers")
        super().__init__(name, title, dict(zip(registers, REGISTERS, strict=False)), frame_bytes)
        self._rare: list[str] = []

    def constant(self, register: str, value: int) -> None:
        """Any 32-bit constant into a register."""
        self.op(f"li {{{register}}}, {value}")

    def add(self, register: str, value: int, temporary: str) -> None:
        """Add a constant to a register, through a temporary one where it is large."""
        if value == 0:
            return
        if -MOST_OFFSET - 1 <= value <= MOST_OFFSET:
            self.op(f"addi {{{register}}}, {{{register}}}, {value}")
            return
        self.constant(temporary, value)
        self.op(f"add {{{register}}}, {{{register}}}, {{{temporary}}}")

    def add_in_frame(self, slot: int, value: int, temporary: str, other: str) -> None:
        """Add a constant to a word of the frame."""
        if value == 0:
            return
        self.op(f"lw {{{temporary}}}, {slot}(sp)")
        self.add(temporary, value, other)
        self.op(f"sw {{{temporary}}}, {slot}(sp)")

    @contextmanager
    def loop(self, purpose: str) -> Iterator[str]:
        """A label; the body ends with a branch to it. Where the target is a whole word, the branch is faster."""
        self._lines.append("    .p2align 2")
        with super().loop(purpose) as label:
            yield label

    @contextmanager
    def repeat(self, count: int, slot: int, temporary: str, purpose: str) -> Iterator[None]:
        """The body so many times; the count is in the frame."""
        if count == 1:
            yield
            return
        self.constant(temporary, count)
        self.op(f"sw {{{temporary}}}, {slot}(sp)")
        with self.loop(purpose) as label:
            yield
            self.ops([f"lw {{{temporary}}}, {slot}(sp)", f"addi {{{temporary}}}, {{{temporary}}}, -1",
                      f"sw {{{temporary}}}, {slot}(sp)", f"bnez {{{temporary}}}, {label}"])  # fmt: skip

    def rarely(self, branch: str, lines: Sequence[str]) -> None:
        """Where the branch is taken, these instructions first: they stand behind the function's end."""
        there, back = self._label(), self._label()
        self.op(f"{branch}, {there}")
        self._lines.append(f"{back}:")
        self._rare.append(f"{there}:")
        self._rare += ["    " + line.format_map(self._registers) for line in lines]
        self._rare.append(f"    j {back}")

    def function(self, prototype: str) -> Function:
        """The finished function; its frame is on the stack."""
        saved = [register for register in _SAVED if register in self._registers.values()]
        size = self._frame_bytes + 4 * len(saved)
        size += -size % _STACK_ALIGNMENT
        slots = {register: size - 4 * (index + 1) for index, register in enumerate(saved)}
        table = ", ".join(f"{register} {name}" for name, register in self._registers.items())
        text = [
            f"# {self._title}",
            f"# Registers: {table}.",
            f'    .section .text.{self.name}, "ax", @progbits',
            "    .p2align 2",
            f"    .global {self.name}",
            f"    .hidden {self.name}",
            f"    .type {self.name}, @function",
            f"{self.name}:",
            f"    addi sp, sp, -{size}",
            *(f"    sw {register}, {slot}(sp)" for register, slot in slots.items()),
            *self._lines,
            *(f"    lw {register}, {slot}(sp)" for register, slot in slots.items()),
            f"    addi sp, sp, {size}",
            "    ret",
            *self._rare,
            f"    .size {self.name}, . - {self.name}",
        ]
        return Function(self.name, "\n".join(text) + "\n", prototype)

    def _label(self) -> str:
        self._labels += 1
        return f".L{self.name}_{self._labels - 1}"
