"""The private peripheral bus of Arm's microcontroller cores: system control space, debug and trace units.

Registers hold what was written to them; units do nothing. Two clocks advance whenever they are read, by a fixed number
of cycles, so that runs repeat exactly and waiting for one of them ends: the cycle counter of the trace unit and the
system timer. Numbers of registers are those of the Armv7-M Architecture Reference Manual (DDI 0403), chapter B3 and
appendix C1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BASE, BYTES = 0xE000_0000, 0x10_0000
CYCLES_BETWEEN_READS = 1000
CYCLE_COUNTER = 0x1004
TIMER_CONTROL, TIMER_RELOAD, TIMER_VALUE = 0xE010, 0xE014, 0xE018
TIMER_COUNTED = 1 << 16
PROCESSOR = 0xED00
FIRST_OF_SYSTEM_CONTROL, END_OF_SYSTEM_CONTROL = 0xE000, 0xF000
# CPUID at the revisions that boards have most often (Technical Reference Manuals, "CPUID").
PROCESSORS: Mapping[str, int] = {
    "cortex-m0": 0x410CC200,
    "cortex-m0-small-multiply": 0x410CC200,
    "cortex-m0plus": 0x410CC601,
    "cortex-m3": 0x412FC231,
    "cortex-m4": 0x410FC241,
    "cortex-m7": 0x411FC271,
    "cortex-m33": 0x410FD213,
}


@dataclass(slots=True)
class PrivateBus:
    """`processor` is the name of the core. Offsets are from `BASE`."""

    processor: str
    _words: dict[int, int] = field(default_factory=dict)
    _cycles: int = 0
    _timer_start: int = 0

    def read(self, offset: int, count: int) -> int:
        """A byte, halfword or word."""
        shift = 8 * (offset & 3)
        return self._word(offset & ~3) >> shift & ((1 << 8 * count) - 1)

    def write(self, offset: int, count: int, value: int) -> None:
        """Trace and debug units forget what is written to them."""
        if not FIRST_OF_SYSTEM_CONTROL <= offset < END_OF_SYSTEM_CONTROL:
            return
        if offset == TIMER_VALUE:
            self._timer_start = self._cycles
            return
        shift, mask = 8 * (offset & 3), (1 << 8 * count) - 1
        word = self._words.get(offset & ~3, 0)
        self._words[offset & ~3] = word & ~(mask << shift) | (value & mask) << shift

    def _word(self, offset: int) -> int:
        if offset == PROCESSOR:
            return PROCESSORS.get(self.processor, 0)
        if offset == CYCLE_COUNTER:
            return self._advance() & 0xFFFF_FFFF
        if offset == TIMER_VALUE:
            period = (self._words.get(TIMER_RELOAD, 0) & 0xFF_FFFF) + 1
            return (period - (self._advance() - self._timer_start)) % period
        if offset == TIMER_CONTROL:
            period = (self._words.get(TIMER_RELOAD, 0) & 0xFF_FFFF) + 1
            before, now = self._cycles, self._advance()
            counted = (now - self._timer_start) // period > (before - self._timer_start) // period
            return self._words.get(offset, 0) | (TIMER_COUNTED if counted else 0)
        return self._words.get(offset, 0)

    def _advance(self) -> int:
        self._cycles += CYCLES_BETWEEN_READS
        return self._cycles
