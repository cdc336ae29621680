"""A small assembler's notebook: Thumb-2 text in GNU syntax with named registers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

from midge.kernels.base import Function
from midge.kernels.thumb_size import thumb_bytes
from midge.targets.records import Core

_INDENT = "    "


_LONGEST_LOOP_BYTES = 4096
_SMALLEST_CACHE_BYTES = 256
"""Less is a prefetch buffer, which no loop can be made to fit."""


def core_loop_bytes(core: Core) -> int:
    """How much code a loop may take: most of the instruction cache where flash has wait states behind one."""
    timing = core.timing
    cached = float(timing.get("fetch_cache_lines", 0)) * float(timing.get("fetch_cache_line_bytes", 32))
    if not timing.get("flash_miss") or cached < _SMALLEST_CACHE_BYTES:
        return _LONGEST_LOOP_BYTES
    return min(int(cached * 0.85), _LONGEST_LOOP_BYTES)


def is_dual_issue(core: Core) -> bool:
    """True where the core issues two instructions at once, such as a load beside a multiplication."""
    return core.timing.get("model") == "dual-issue"


class Assembly:
    """Collects the text of one function. `{name}` in an instruction stands for the register of that name.

    The text opens with a table of the registers' names, so that a person can follow it.
    """

    comment: ClassVar[str] = "@"
    """What begins a comment in the assembler's syntax."""

    def __init__(self, name: str, title: str, registers: Mapping[str, str], frame_bytes: int = 0) -> None:
        self.name = name
        self._title = title
        self._registers = dict(registers)
        self._frame_bytes = frame_bytes
        self._lines: list[str] = []
        self._labels = 0
        self.instructions = 0
        """Written so far."""

    @property
    def thumb_bytes(self) -> int:
        """What is written so far takes as Thumb-2 code, or a little more."""
        lines = (line.split(self.comment)[0].strip() for line in self._lines if line.startswith(_INDENT))
        return sum(thumb_bytes(line) for line in lines if line and not line.startswith("."))

    def op(self, text: str, comment: str = "") -> None:
        """One instruction."""
        self.instructions += 1
        line = _INDENT + text.format_map(self._registers)
        self._lines.append(f"{line:<44} {self.comment} {comment}" if comment else line)

    def ops(self, lines: Sequence[str]) -> None:
        """Several instructions."""
        for line in lines:
            self.op(line)

    def interleave(self, sequences: Sequence[Sequence[Sequence[str]]], *, at_once: int) -> None:
        """Sequences that do not depend on each other, each of groups of instructions that stay together.

        One after the other, or `at_once` of them, each a group behind the one before: for cores on which an instruction
        waits for its operands.
        """
        for first in range(0, len(sequences), at_once):
            some = sequences[first : first + at_once]
            for time in range(max(map(len, some)) + len(some)):
                for place, groups in enumerate(some):
                    if 0 <= time - place < len(groups):
                        self.ops(groups[time - place])

    def note(self, text: str) -> None:
        """A comment on a line of its own."""
        self._lines.append(f"{_INDENT}{self.comment} {text}")

    def constant(self, register: str, value: int) -> None:
        """Any 32-bit constant into a register."""
        value &= 0xFFFF_FFFF
        self.op(f"movw {{{register}}}, #{value & 0xFFFF}")
        if value >> 16:
            self.op(f"movt {{{register}}}, #{value >> 16}")

    def add(self, register: str, value: int, temporary: str) -> None:
        """Add a constant to a register, through a temporary one where it is large."""
        if value == 0:
            return
        if abs(value) <= 4095:
            self.op(f"{'add' if value > 0 else 'sub'}w {{{register}}}, {{{register}}}, #{abs(value)}")
            return
        self.constant(temporary, value)
        self.op(f"add {{{register}}}, {{{temporary}}}")

    @contextmanager
    def loop(self, purpose: str) -> Iterator[str]:
        """A label; the body ends with a branch to it."""
        label = self.new_label()
        self.place(label, purpose)
        yield label

    def new_label(self) -> str:
        """A label of the function's own, to be placed later."""
        self._labels += 1
        return f".L{self.name}_{self._labels - 1}"

    def place(self, label: str, purpose: str) -> None:
        """Here is what branches to the label reach."""
        self._lines.append(f"{label}:{' ' * max(1, 43 - len(label))} {self.comment} {purpose}")

    def table_branch(self, register: str, labels: Sequence[str]) -> None:
        """Go on at one of some near labels, by a register that holds its number."""
        table = self.new_label()
        self.op(f"tbb [pc, {{{register}}}]")
        self._lines.append(f"{table}:")
        self._lines += [f"{_INDENT}.byte ({label} - {table}) / 2" for label in labels]
        self._lines.append(f"{_INDENT}.p2align 1")

    def label(self, name: str) -> None:
        """A place to branch to."""
        self._lines.append(f"{name}:")

    def function(self, prototype: str, *, saves_vectors: bool = False) -> Function:
        """The finished function; it saves r4 to r11 (and q4 to q7) and keeps its frame on the stack."""
        table = ", ".join(f"{register} {name}" for name, register in self._registers.items())
        head = [
            f"@ {self._title}",
            f"@ Registers: {table}.",
            f'{_INDENT}.section .text.{self.name}, "ax", %progbits',
            f"{_INDENT}.p2align 2",
            f"{_INDENT}.global {self.name}",
            f"{_INDENT}.hidden {self.name}",
            f"{_INDENT}.type {self.name}, %function",
            f"{_INDENT}.thumb_func",
            f"{self.name}:",
            f"{_INDENT}push {{r4-r11, lr}}",
        ]
        tail = [f"{_INDENT}pop {{r4-r11, pc}}", f"{_INDENT}.size {self.name}, . - {self.name}"]
        if saves_vectors:
            head.append(f"{_INDENT}vpush {{d8-d15}}")
            tail.insert(0, f"{_INDENT}vpop {{d8-d15}}")
        if self._frame_bytes:
            head.append(f"{_INDENT}sub sp, sp, #{self._frame_bytes}")
            tail.insert(0, f"{_INDENT}add sp, sp, #{self._frame_bytes}")
        return Function(self.name, "\n".join([*head, *self._lines, *tail]) + "\n", prototype)
