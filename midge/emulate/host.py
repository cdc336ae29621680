"""The host side of semihosting: the calls with which a firmware prints, reads files and ends.

Numbers and blocks as in Arm's "Semihosting for AArch32 and AArch64". Files live in memory: a firmware under test
touches nothing of the computer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

SYS_OPEN, SYS_CLOSE, SYS_WRITEC, SYS_WRITE0, SYS_WRITE, SYS_READ = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
SYS_READC, SYS_ISERROR, SYS_ISTTY, SYS_SEEK, SYS_FLEN = 0x07, 0x08, 0x09, 0x0A, 0x0C
SYS_CLOCK, SYS_TIME, SYS_ERRNO, SYS_GET_CMDLINE, SYS_HEAPINFO = 0x10, 0x11, 0x13, 0x15, 0x16
SYS_EXIT, SYS_EXIT_EXTENDED = 0x18, 0x20
SYS_TMPNAM, SYS_REMOVE, SYS_RENAME, SYS_SYSTEM, SYS_ELAPSED, SYS_TICKFREQ = 0x0D, 0x0E, 0x0F, 0x12, 0x30, 0x31
STOPPED_APPLICATION_EXIT, FIRST_REASON = 0x20026, 0x20000
FAILED = 0xFFFF_FFFF
CONSOLE = ":tt"
FEATURES = ":semihosting-features"
# Magic, then bits: SYS_EXIT_EXTENDED is there, and ":tt" opens standard output and error apart.
FEATURE_BYTES = b"SHFB\x03"
TICKS_PER_SECOND = 1_000_000
FIRST_WRITING_MODE = 4  # 0-3 read; 4-7 write; 8-11 append


class Memory(Protocol):
    """What the host needs of the device."""

    def read(self, address: int, count: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


@dataclass(slots=True)
class _Open:
    """An open file. The console has no content of its own."""

    name: str
    mode: int
    position: int = 0


@dataclass(slots=True)
class Host:
    """State of the host: the command line, files by name, what was printed, and how the firmware ended."""

    command_line: str
    files: dict[str, bytearray] = field(default_factory=dict)
    on_read: Callable[[int], None] | None = None
    """Called with the number of bytes read so far from files: progress of a long run."""
    printed: bytearray = field(default_factory=bytearray)
    exit_failed: bool | None = None
    """None while the firmware runs; then whether it ended with an error."""
    exit_status: int | None = None
    """What it returned, where it ended by itself: None while it runs, and where it broke off."""
    heap: tuple[int, int] | None = None
    """Where free memory begins and ends; None where the firmware shall use what it was linked with."""
    unknown: int | None = None
    """The number of a call that is not implemented here."""
    _open: dict[int, _Open] = field(default_factory=dict)
    _read_bytes: int = 0
    _ticks: int = 0

    def call(self, memory: Memory, operation: int, argument: int) -> int:
        """Carry out one call; returns what register r0 shall hold."""
        handler = _HANDLERS.get(operation)
        if handler is None:
            self.unknown = operation
            return FAILED
        return handler(self, memory, argument)

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.printed.decode("utf-8", "replace")

    def _words(self, memory: Memory, address: int, count: int) -> list[int]:
        data = memory.read(address, 4 * count)
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, 4 * count, 4)]

    def open(self, memory: Memory, block: int) -> int:
        path, mode, length = self._words(memory, block, 3)
        name = memory.read(path, length).decode("utf-8", "replace")
        if name == FEATURES:
            self.files[name] = bytearray(FEATURE_BYTES)
        if name != CONSOLE:
            if mode < FIRST_WRITING_MODE and name not in self.files:
                return FAILED
            if FIRST_WRITING_MODE <= mode < 8:
                self.files[name] = bytearray()
        handle = max(self._open, default=0) + 1
        position = len(self.files.setdefault(name, bytearray())) if mode >= 8 and name != CONSOLE else 0
        self._open[handle] = _Open(name, mode, position)
        return handle

    def close(self, memory: Memory, block: int) -> int:
        (handle,) = self._words(memory, block, 1)
        return 0 if self._open.pop(handle, None) else FAILED

    def write_character(self, memory: Memory, address: int) -> int:
        self.printed += memory.read(address, 1)
        return 0

    def write_text(self, memory: Memory, address: int) -> int:
        while (character := memory.read(address, 1)) != b"\0":
            self.printed += character
            address += 1
        return 0

    def write(self, memory: Memory, block: int) -> int:
        """Returns the number of bytes that were not written."""
        handle, address, count = self._words(memory, block, 3)
        file = self._open.get(handle)
        if file is None:
            return count
        data = memory.read(address, count)
        if file.name == CONSOLE:
            self.printed += data
            return 0
        content = self.files[file.name]
        content[file.position : file.position + count] = data
        file.position += count
        return 0

    def read(self, memory: Memory, block: int) -> int:
        """Returns the number of bytes that were not read."""
        handle, address, count = self._words(memory, block, 3)
        file = self._open.get(handle)
        if file is None or file.name == CONSOLE:
            return count
        data = bytes(self.files[file.name][file.position : file.position + count])
        memory.write(address, data)
        file.position += len(data)
        self._read_bytes += len(data)
        if self.on_read is not None:
            self.on_read(self._read_bytes)
        return count - len(data)

    def is_error(self, memory: Memory, block: int) -> int:
        (status,) = self._words(memory, block, 1)
        return int(status >= 1 << 31)

    def is_console(self, memory: Memory, block: int) -> int:
        (handle,) = self._words(memory, block, 1)
        return int(handle in self._open and self._open[handle].name == CONSOLE)

    def seek(self, memory: Memory, block: int) -> int:
        handle, position = self._words(memory, block, 2)
        file = self._open.get(handle)
        if file is None or file.name == CONSOLE or position > len(self.files[file.name]):
            return FAILED
        file.position = position
        return 0

    def length(self, memory: Memory, block: int) -> int:
        (handle,) = self._words(memory, block, 1)
        file = self._open.get(handle)
        return FAILED if file is None else len(self.files.get(file.name, b""))

    def remove(self, memory: Memory, block: int) -> int:
        path, length = self._words(memory, block, 2)
        name = memory.read(path, length).decode("utf-8", "replace")
        return 0 if self.files.pop(name, None) is not None else FAILED

    def rename(self, memory: Memory, block: int) -> int:
        path, length, new_path, new_length = self._words(memory, block, 4)
        name = memory.read(path, length).decode("utf-8", "replace")
        if name not in self.files:
            return FAILED
        self.files[memory.read(new_path, new_length).decode("utf-8", "replace")] = self.files.pop(name)
        return 0

    def clock(self, memory: Memory, block: int) -> int:
        """Hundredths of a second: one more at each question, so that runs repeat exactly and waiting ends."""
        del memory, block
        self._ticks += 1
        return self._ticks

    def elapsed(self, memory: Memory, block: int) -> int:
        """The same as ticks of `TICKS_PER_SECOND`, a number of 64 bits."""
        memory.write(block, (self.clock(memory, block) * (TICKS_PER_SECOND // 100)).to_bytes(8, "little"))
        return 0

    def tick_frequency(self, memory: Memory, block: int) -> int:
        del memory, block
        return TICKS_PER_SECOND

    def refuse(self, memory: Memory, block: int) -> int:
        """What a firmware under test may not do: run commands on the computer, or make temporary files there."""
        del memory, block
        return FAILED

    def time(self, memory: Memory, block: int) -> int:
        del memory, block
        return int(time.time())

    def nothing(self, memory: Memory, block: int) -> int:
        del memory, block
        return 0

    def get_command_line(self, memory: Memory, block: int) -> int:
        address, capacity = self._words(memory, block, 2)
        data = self.command_line.encode() + b"\0"
        if len(data) > capacity:
            return FAILED
        memory.write(address, data)
        memory.write(block + 4, (len(data) - 1).to_bytes(4, "little"))
        return 0

    def heap_info(self, memory: Memory, block: int) -> int:
        """Base and limit of the heap, base and limit of the stack: all free memory for both, as QEMU answers."""
        (address,) = self._words(memory, block, 1)
        first, end = self.heap or (0, 0)
        memory.write(address, b"".join(word.to_bytes(4, "little") for word in (first, end, end, first)))
        return 0

    def exit(self, memory: Memory, reason: int) -> int:
        del memory
        self.exit_failed = reason != STOPPED_APPLICATION_EXIT
        # Some start-up code gives its status in place of a reason.
        self.exit_status = 0 if not self.exit_failed else reason if reason < FIRST_REASON else None
        return 0

    def exit_extended(self, memory: Memory, block: int) -> int:
        reason, status = self._words(memory, block, 2)
        self.exit_failed = reason != STOPPED_APPLICATION_EXIT or status != 0
        self.exit_status = status if reason == STOPPED_APPLICATION_EXIT else None
        return 0


_HANDLERS: dict[int, Callable[[Host, Memory, int], int]] = {
    SYS_OPEN: Host.open, SYS_CLOSE: Host.close, SYS_WRITEC: Host.write_character, SYS_WRITE0: Host.write_text,
    SYS_WRITE: Host.write, SYS_READ: Host.read, SYS_READC: Host.nothing, SYS_ISERROR: Host.is_error,
    SYS_ISTTY: Host.is_console, SYS_SEEK: Host.seek, SYS_FLEN: Host.length, SYS_CLOCK: Host.clock,
    SYS_TIME: Host.time, SYS_ERRNO: Host.nothing, SYS_GET_CMDLINE: Host.get_command_line,
    SYS_HEAPINFO: Host.heap_info, SYS_EXIT: Host.exit, SYS_EXIT_EXTENDED: Host.exit_extended,
    SYS_TMPNAM: Host.refuse, SYS_SYSTEM: Host.refuse, SYS_REMOVE: Host.remove, SYS_RENAME: Host.rename,
    SYS_ELAPSED: Host.elapsed, SYS_TICKFREQ: Host.tick_frequency,
}  # fmt: skip
