"""The host side of semihosting, call by call, and a hello from real code."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import tiny_network

from midge.build import build
from midge.emulate import host as h
from midge.emulate.host import Host
from midge.emulate.machine import DeviceFault, Machine
from midge.emulate.program import load
from midge.errors import UsageError
from midge.targets import core_board


class Memory:
    """1 KB of device memory at address 0."""

    def __init__(self) -> None:
        self.bytes = bytearray(1024)

    def read(self, address: int, count: int) -> bytes:
        return bytes(self.bytes[address : address + count])

    def write(self, address: int, data: bytes) -> None:
        self.bytes[address : address + len(data)] = data


def call(host: Host, memory: Memory, operation: int, *words: int, text: bytes = b"") -> int:
    """Carry out a call whose block lies at address 16 and whose text lies at 256."""
    memory.write(256, text + b"\0")
    memory.write(16, struct.pack(f"<{len(words)}I", *words))
    return host.call(memory, operation, 16)


def open_file(host: Host, memory: Memory, name: str, mode: int) -> int:
    return call(host, memory, h.SYS_OPEN, 256, mode, len(name), text=name.encode())


def test_reading() -> None:
    host, memory = Host("", {"in": bytearray(b"abcdefgh")}), Memory()
    handle = open_file(host, memory, "in", 1)
    assert call(host, memory, h.SYS_FLEN, handle) == 8
    assert call(host, memory, h.SYS_READ, handle, 512, 3) == 0
    assert call(host, memory, h.SYS_READ, handle, 515, 9) == 4, "the bytes that were not read"
    assert memory.read(512, 8) == b"abcdefgh"
    assert call(host, memory, h.SYS_SEEK, handle, 6) == 0
    assert call(host, memory, h.SYS_READ, handle, 600, 2) == 0
    assert memory.read(600, 2) == b"gh"
    assert call(host, memory, h.SYS_CLOSE, handle) == 0
    assert call(host, memory, h.SYS_CLOSE, handle) == h.FAILED
    assert call(host, memory, h.SYS_READ, handle, 600, 2) == 2


def test_writing_and_appending() -> None:
    host, memory = Host("", {"out": bytearray(b"old")}), Memory()
    handle = open_file(host, memory, "out", 5)
    memory.write(512, b"new text")
    assert call(host, memory, h.SYS_WRITE, handle, 512, 8) == 0
    appended = open_file(host, memory, "out", 9)
    assert call(host, memory, h.SYS_WRITE, appended, 512, 3) == 0
    assert host.files == {"out": bytearray(b"new textnew")}


def test_absent_files() -> None:
    host, memory = Host(""), Memory()
    assert open_file(host, memory, "absent", 1) == h.FAILED
    assert host.files == {}


def test_console() -> None:
    host, memory = Host(""), Memory()
    handle = open_file(host, memory, ":tt", 4)
    assert call(host, memory, h.SYS_ISTTY, handle) == 1
    memory.write(512, b"hello\0")
    assert call(host, memory, h.SYS_WRITE, handle, 512, 5) == 0
    host.call(memory, h.SYS_WRITEC, 512)
    host.call(memory, h.SYS_WRITE0, 512)
    assert host.text == "hellohhello"


def test_command_line() -> None:
    host, memory = Host("fw 2"), Memory()
    assert call(host, memory, h.SYS_GET_CMDLINE, 512, 4) == h.FAILED, "no room for the last zero"
    assert call(host, memory, h.SYS_GET_CMDLINE, 512, 5) == 0
    assert memory.read(512, 5) == b"fw 2\0"
    assert memory.read(20, 4) == struct.pack("<I", 4)


@pytest.mark.parametrize(("operation", "argument", "failed"), [
    (h.SYS_EXIT, h.STOPPED_APPLICATION_EXIT, False), (h.SYS_EXIT, 0x20023, True),
])  # fmt: skip
def test_exit(operation: int, argument: int, failed: bool) -> None:
    host = Host("")
    host.call(Memory(), operation, argument)
    assert host.exit_failed is failed


def test_unknown_call() -> None:
    host = Host("")
    assert host.call(Memory(), 0x77, 0) == h.FAILED
    assert host.unknown == 0x77


HELLO = """
__attribute__((constructor)) static void unused(void) { }
static void host_call(int operation, const void *argument)
{
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}
"""


def test_hello_from_code(tmp_path: Path) -> None:
    head = "void tiny_run(void)\n{"
    text = HELLO + tiny_network.text().replace(head, f'{head}\n host_call(4, "hi!\\n");')
    image = build(tiny_network.sources(text), core_board("cortex-m4"), tmp_path)
    host = Host("fw 3")
    machine = Machine(core_board("cortex-m4"), load(image.elf), host)
    machine.load()
    machine.run()
    assert host.text.startswith("hi!\nhi!\nhi!\noutput 0:")


def test_unknown_call_stops_the_firmware(tmp_path: Path) -> None:
    text = HELLO + tiny_network.text().replace("void tiny_run(void)\n{", "void tiny_run(void)\n{\n host_call(0x77, 0);")
    image = build(tiny_network.sources(text), core_board("cortex-m4"), tmp_path)
    machine = Machine(core_board("cortex-m4"), load(image.elf), Host("fw"))
    machine.load()
    with pytest.raises(DeviceFault) as error:
        machine.run()
    assert error.value.what == "unknown semihosting call 0x77"


def test_files_that_are_no_firmware(tmp_path: Path) -> None:
    (tmp_path / "text.elf").write_text("not an ELF")
    with pytest.raises(UsageError, match="not an ELF file"):
        load(tmp_path / "text.elf")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "absent.elf")
