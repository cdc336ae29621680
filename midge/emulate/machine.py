"""An emulated board: the core in Unicorn, the board's memory map and nothing else, semihosting."""

from __future__ import annotations

from dataclasses import dataclass

from unicorn import unicorn_const
from unicorn.unicorn import Uc, UcError

from midge.emulate import private_bus
from midge.emulate.architecture import UNDEFINED, architecture_of
from midge.emulate.host import Host
from midge.emulate.program import Program
from midge.errors import ToolError, UnsupportedError, UsageError
from midge.targets.records import Board

PAGE_BYTES = 4096
SECURE_ALIAS_BIT = 1 << 28
NOWHERE = 0xFFFF_FFFE
ACCESSES = {
    unicorn_const.UC_MEM_READ_UNMAPPED: "read of {n} bytes at {a:#010x}, where the board has no memory",
    unicorn_const.UC_MEM_WRITE_UNMAPPED: "write of {n} bytes at {a:#010x}, where the board has no memory",
    unicorn_const.UC_MEM_FETCH_UNMAPPED: "instruction fetch at {a:#010x}, where the board has no memory",
    unicorn_const.UC_MEM_WRITE_PROT: "write of {n} bytes at {a:#010x}, which is flash",
    unicorn_const.UC_MEM_READ_PROT: "read of {n} bytes at {a:#010x}, which cannot be read",
    unicorn_const.UC_MEM_FETCH_PROT: "instruction fetch at {a:#010x}, which is not executable",
}


@dataclass(slots=True)
class DeviceFault(Exception):
    """The firmware did what the board cannot do. `address` is None where no memory access is to blame."""

    what: str
    pc: int
    address: int | None
    sp: int


class Machine:
    """One emulated board with a loaded firmware."""

    def __init__(self, board: Board, program: Program, host: Host) -> None:
        core = board.core
        if not core.unicorn_model:
            raise UnsupportedError(f"core {core.name}", "the emulator has no model of it", "", _QEMU_CURE)
        if (program.machine == "riscv") != board.is_riscv:
            raise UsageError(str(program.path), f"an ELF for {program.machine}", f"one for {core.title}")
        self.board, self.program, self.host = board, program, host
        self.architecture = architecture_of(core)
        self.uc = Uc(self.architecture.arch, self.architecture.mode)
        self.uc.ctl_set_cpu_model(self.architecture.models[core.unicorn_model])
        self._bus = private_bus.PrivateBus(core.name)
        self._map_memories()
        self._fault: DeviceFault | None = None
        self.uc.hook_add(unicorn_const.UC_HOOK_INTR, self._on_exception)
        self.uc.hook_add(unicorn_const.UC_HOOK_MEM_INVALID, self._on_invalid_access)

    def _map_memories(self) -> None:
        rights = {
            "flash": unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_EXEC,
            "ram": unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_WRITE | unicorn_const.UC_PROT_EXEC,
        }
        for region in self.board.regions:
            if region.kind in rights:
                self._map(region.base, region.bytes, rights[region.kind])
        if not self.board.is_riscv:
            self.uc.mmio_map(private_bus.BASE, private_bus.BYTES, self._read_bus, None, self._write_bus, None)

    def _map(self, base: int, count: int, rights: int) -> None:
        """Unicorn maps whole pages; where a region is no multiple of one, the rest of its last page is mapped too."""
        self.uc.mem_map(base, -(-count // PAGE_BYTES) * PAGE_BYTES, rights)

    def load(self, start: tuple[int, int] | None = None) -> None:
        """Program the flash and reset: stack pointer and program counter from the vector table, or those given.

        RISC-V has no vector table: a firmware begins at its entry, and sets the stack pointer itself.
        """
        for segment in self.program.segments:
            if segment.data:
                self.write(self._load_address(segment.load_address, len(segment.data)), segment.data)
        if not self.architecture.has_vectors and start is None:
            self.uc.reg_write(self.architecture.pc, self.program.entry)
            return
        vectors = self.read(self.board.flash.base, 8)
        stack, entry = start or (int.from_bytes(vectors[:4], "little"), int.from_bytes(vectors[4:], "little"))
        self.uc.reg_write(self.architecture.sp, stack)
        self.uc.reg_write(self.architecture.pc, entry)

    def _load_address(self, address: int, count: int) -> int:
        """The address itself; on Armv8-M also its Non-secure alias (build.firmware.load_offset)."""
        candidates = [address]
        if self.board.core.architecture.startswith("armv8"):
            candidates.append(address & ~SECURE_ALIAS_BIT)
        for candidate in candidates:
            for region in self.board.regions:
                if region.base <= candidate and candidate + count <= region.base + region.bytes:
                    return candidate
        raise UsageError(
            str(self.program.path), f"{count} bytes for {address:#010x}", f"a firmware for board {self.board.name}"
        )

    def read(self, address: int, count: int) -> bytes:
        return bytes(self.uc.mem_read(address, count))

    def write(self, address: int, data: bytes) -> None:
        self.uc.mem_write(address, data)

    @property
    def pc(self) -> int:
        return int(self.uc.reg_read(self.architecture.pc)) & ~1

    @property
    def sp(self) -> int:
        return int(self.uc.reg_read(self.architecture.sp))

    @property
    def lr(self) -> int:
        return int(self.uc.reg_read(self.architecture.link))

    def run(self, until: int = NOWHERE, timeout_seconds: int = 0) -> None:
        """Run from the program counter to an address or to the firmware's exit. DeviceFault where it faults."""
        self._fault = None
        self.uc.ctl_flush_tb()  # code translated before would run past an address to stop at that is new
        while self._stretch(until, timeout_seconds):
            pass
        if self._fault is not None:
            raise self._fault
        if self.host.exit_failed is None and self.pc != until:
            raise ToolError("emulator", f"no end after {timeout_seconds} s, at pc {self.pc:#010x}", "a run that ends")

    def _stretch(self, until: int, timeout_seconds: int) -> bool:
        """Run until something happens; True where execution shall go on.

        Unicorn hands RISC-V's breakpoints on as instructions that it does not know.
        """
        try:
            self.uc.emu_start(self.pc | self.architecture.state_bit, until, timeout=timeout_seconds * 1_000_000)
        except UcError as error:
            is_unknown = error.errno == unicorn_const.UC_ERR_INSN_INVALID
            if is_unknown and self._fault is None and self._serve(self.uc):
                return self.host.exit_failed is None and self._fault is None
            raise self._fault or DeviceFault(UNDEFINED if is_unknown else str(error), self.pc, None, self.sp) from error
        return False

    def _serve(self, uc: Uc) -> bool:
        """Carry out the semihosting call at the program counter; False where there is none."""
        pc, cpu = self.pc, self.architecture
        start, code = pc - cpu.code_before, cpu.breakpoint_code
        if self.read(start, len(code)) != code:
            return False
        result = self.host.call(self, int(uc.reg_read(cpu.operation)), int(uc.reg_read(cpu.argument)))
        uc.reg_write(cpu.operation, result & 0xFFFF_FFFF)
        uc.reg_write(cpu.pc, (start + len(code)) | cpu.state_bit)
        if self.host.unknown is not None:
            self._fault = DeviceFault(f"unknown semihosting call {self.host.unknown:#x}", pc, None, self.sp)
        return True

    def _read_bus(self, uc: Uc, offset: int, count: int, data: object) -> int:
        del uc, data
        return self._bus.read(offset, count)

    def _write_bus(self, uc: Uc, offset: int, count: int, value: int, data: object) -> None:
        del uc, data
        self._bus.write(offset, count, value)

    def _on_exception(self, uc: Uc, number: int, data: object) -> None:
        del data
        cpu = self.architecture
        if number == cpu.breakpoint and self._serve(uc):
            if self.host.exit_failed is None and self._fault is None:
                return
        else:
            what = cpu.exceptions.get(number, f"exception {number}")
            self._fault = DeviceFault(what, self.pc, None, self.sp)
        uc.emu_stop()

    def _on_invalid_access(self, uc: Uc, kind: int, address: int, count: int, value: int, data: object) -> bool:
        del uc, value, data
        what = ACCESSES.get(kind, "access of {n} bytes at {a:#010x}").format(a=address, n=count)
        self._fault = DeviceFault(what, self.pc, address, self.sp)
        return False


_QEMU_CURE = "Use QEMU where it has the core, or another board"


def is_stack_overflow(fault: DeviceFault, board: Board) -> bool:
    """True for an access just below the RAM: the stack lies at its bottom, and has left it."""
    below = fault.address is not None and board.ram.base - (64 << 10) <= fault.address < board.ram.base
    return below or (fault.address is None and fault.sp < board.ram.base)


__all__ = ["DeviceFault", "Machine", "is_stack_overflow"]
