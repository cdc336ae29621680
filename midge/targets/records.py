"""Records of the hardware: cores, boards, memories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Region:
    """A memory of the address map."""

    name: str
    kind: str
    """`flash` (read and execute), `ram`, or `external` (memory that Midge does not place anything in yet)."""
    base: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Core:
    """A processor core, from `targets/cores/*.toml`."""

    name: str
    title: str
    architecture: str
    """The ISA, as in compilers: `armv6-m`, `armv7-m`, `armv7e-m`, `armv8-m.main`, `rv32imc`, …"""
    isas: tuple[str, ...]
    """Names of kernel files to try, best first; the last is `portable`."""
    zig_target: str
    zig_cpu: str
    gcc_flags: tuple[str, ...]
    unicorn_model: str
    """Suffix of the `UC_CPU_ARM_…` or `UC_CPU_RISCV32_…` constant; empty where Unicorn has no such core."""
    qemu_machine: str
    """QEMU machine with this core and the memory map of `--core`; empty where there is none."""
    hardware_float: bool
    timing: Mapping[str, int | float | str]
    """Cycles per class of instruction; empty where there is no table yet."""
    sources: tuple[str, ...]
    """Citations: manuals with section."""

    @property
    def is_riscv(self) -> bool:
        return self.architecture.startswith("rv32")


@dataclass(frozen=True, slots=True)
class Power:
    """Currents for energy estimates; `source` cites the data sheet (table, conditions)."""

    supply_volts: float
    run_milliamps: float
    sleep_microamps: float
    source: str


@dataclass(frozen=True, slots=True)
class Board:
    """A board, from `targets/boards/*.toml`; or a bare core (`--core`), with room for all."""

    name: str
    title: str
    vendor: str
    mcu: str
    core: Core
    clock_hz: int
    regions: tuple[Region, ...]
    power: Power | None
    emulated: str
    """How: `unicorn`, `qemu`, `compile-only` or `planned`."""
    sensors: tuple[str, ...]
    packages: tuple[str, ...]
    """Package kinds that `deploy` makes for it."""
    notes: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def backend(self) -> Literal["unicorn", "qemu"]:
        """The emulator that runs it, where none is asked for."""
        return "qemu" if self.emulated == "qemu" else "unicorn"

    @property
    def flash(self) -> Region:
        return next(region for region in self.regions if region.kind == "flash")

    @property
    def ram(self) -> Region:
        return next(region for region in self.regions if region.kind == "ram")

    @property
    def is_riscv(self) -> bool:
        return self.core.is_riscv
