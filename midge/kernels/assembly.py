"""A small assembler's notebook: Thumb-2 text in GNU syntax with named registers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from midge.kernels.base import Function
from midge.targets.records import Core

_INDENT = "    "


_LONGEST_LOOP_BYTES = 4096


def core_loop_bytes(core: Core) -> int:
    """How much code a loop may take: most of the instruction cache where flash has wait states behind one."""
    timing = core.timing
    cached = float(timing.get("fetch_cache_lines", 0)) * float(timing.get("fetch_cache_line_bytes", 32))
    return int(cached * 0.85) if timing.get("flash_miss") and cached else _LONGEST_LOOP_BYTES


def is_dual_issue(core: Core) -> bool:
    """True where the core issues two instructions at once, such as a load beside a multiplication."""
    return core.timing.get("model") == "dual-issue"


class Assembly:
    """Collects the text of one function. `{name}` in an instruction stands for the register of that name.

    The text opens with a table of the registers' names, so that a person can follow it.
    """

    def __init__(self, name: str, title: str, registers: Mapping[str, str], frame_bytes: int = 0) -> None:
        self.name = name
        self._title = title
        self._registers = dict(registers)
        self._frame_bytes = frame_bytes
        self._lines: list[str] = []
        self._labels = 0
        self.instructions = 0
        """Written so far."""

    def op(self, text: str, comment: str = "") -> None:
        """One instruction."""
        self.instructions += 1
        line = _INDENT + text.format_map(self._registers)
        self._lines.append(f"{line:<44} @ {comment}" if comment else line)

    def ops(self, lines: Sequence[str]) -> None:
        """Several instructions."""
        for line in lines:
            self.op(line)

    def note(self, text: str) -> None:
        """A comment on a line of its own."""
        self._lines.append(f"{_INDENT}@ {text}")

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
        label = self.label()
        self.place(label, purpose)
        yield label

    def label(self) -> str:
        """A new label, to be placed later."""
        self._labels += 1
        return f".L{self.name}_{self._labels - 1}"

    def place(self, label: str, purpose: str) -> None:
        """Here is what branches to the label reach."""
        self._lines.append(f"{label}:{' ' * max(1, 43 - len(label))} @ {purpose}")

    def function(self, prototype: str) -> Function:
        """The finished function; it saves r4 to r11 and keeps its frame on the stack."""
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
        if self._frame_bytes:
            head.append(f"{_INDENT}sub sp, sp, #{self._frame_bytes}")
            tail.insert(0, f"{_INDENT}add sp, sp, #{self._frame_bytes}")
        return Function(self.name, "\n".join([*head, *self._lines, *tail]) + "\n", prototype)
