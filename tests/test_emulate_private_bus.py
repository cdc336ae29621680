"""Registers of the private peripheral bus, as firmware of others reads them."""

from __future__ import annotations

from midge.emulate.private_bus import CYCLES_BETWEEN_READS, PrivateBus

CONTROL, RELOAD, VALUE, ENABLE_FPU, TRACE = 0xE010, 0xE014, 0xE018, 0xED88, 0x1000


def test_registers_keep_what_is_written() -> None:
    bus = PrivateBus("cortex-m4")
    bus.write(ENABLE_FPU, 4, 0xF0_0000)
    bus.write(ENABLE_FPU + 3, 1, 0x12)
    assert bus.read(ENABLE_FPU, 4) == 0x12F0_0000
    assert (bus.read(ENABLE_FPU + 2, 2), bus.read(ENABLE_FPU + 2, 1)) == (0x12F0, 0xF0)
    bus.write(TRACE, 4, 1)
    assert bus.read(TRACE, 4) == 0


def test_the_processor_says_what_it_is() -> None:
    assert PrivateBus("cortex-m33").read(0xED00, 4) == 0x410FD213
    assert PrivateBus("cortex-m55").read(0xED00, 4) == 0


def test_clocks_advance_when_read() -> None:
    bus = PrivateBus("cortex-m4")
    first, second = bus.read(0x1004, 4), bus.read(0x1004, 4)
    assert second - first == CYCLES_BETWEEN_READS
    bus.write(RELOAD, 4, 2499)
    bus.write(VALUE, 4, 0)
    counts = [bus.read(CONTROL, 4) >> 16 for _ in range(5)]
    assert counts == [0, 0, 1, 0, 1]  # after 1000, 2000, …: past 2500 and 5000
    bus.write(VALUE, 4, 99)
    assert bus.read(VALUE, 4) == 2500 - CYCLES_BETWEEN_READS
