"""Build a project's self-test for its board and run it on the emulated board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from midge.build import gcc, zig
from midge.build.compiled import Compiled
from midge.build.compiler import COMMON_FLAGS, Compiler
from midge.build.tools import run_tool
from midge.deploy.project import Project
from midge.emulate.host import Host
from midge.emulate.machine import DeviceFault, Machine
from midge.emulate.program import load
from midge.errors import MismatchError, ToolError

ELF = "selftest.elf"
PASSED = "self-test passed"
MOST_SECONDS = 300


def build_selftest(project: Project, folder: Path, units: Sequence[str], includes: Sequence[str], startup: str) -> Path:
    """Compile units (C, C++ and assembly) and link them with the start-up code in the folder `startup`.

    Objects and firmware are removed again but for the returned file, which the caller's folder outlives.
    """
    compiler = _compiler(project.compiled)
    library = ("-isystem", f"{startup}/freestanding") if project.compiled.options.cc == "zig" else ()
    flags = [*compiler.command, *compiler.compile_flags, *library, *(f"-I{path}" for path in includes), "-O2", "-Wall",
             "-Wextra", "-Werror"]  # fmt: skip
    objects = [f"selftest-{number}.o" for number in range(len(units) + 1)]
    link = [*compiler.command, *objects, "-nostartfiles", "-Wl,--gc-sections", "-Wl,-e,reset",
            f"-Wl,-T,{startup}/link.ld", *compiler.link_flags, "-o", ELF]  # fmt: skip
    try:
        for unit, made in zip(units, objects, strict=False):
            run_tool([*flags, *_dialect(unit), "-c", unit, "-o", made], f"compiling {unit}", folder)
        run_tool([*flags, *COMMON_FLAGS, "-fno-builtin", "-c", f"{startup}/startup.c", "-o", objects[-1]],
                 "compiling the start-up code", folder)  # fmt: skip
        run_tool(link, "linking the self-test", folder)
    finally:
        for made in objects:
            (folder / made).unlink(missing_ok=True)
    return folder / ELF


def run_selftest(project: Project, elf: Path) -> list[str]:
    """Run the self-test to its end; raises MismatchError where it fails. Removes the firmware."""
    compiled = project.compiled
    built = f"self-test built with {compiled.image.compiler}"
    try:
        if compiled.board.emulated != "unicorn":
            return [built, f"not run: {compiled.board.name} cannot be emulated ({compiled.board.emulated})"]
        text = _run(compiled, elf)
    finally:
        elf.unlink(missing_ok=True)
    if PASSED not in text:
        said = " / ".join(text.splitlines()) or "no output"
        raise MismatchError(f"self-test on the emulated {compiled.board.name}", said, f"`{PASSED}`")
    return [built, f"self-test passed on emulated board {compiled.board.name}, {len(project.inputs)} recorded inputs"]


def _run(compiled: Compiled, elf: Path) -> str:
    host = Host("selftest")
    machine = Machine(compiled.board, load(elf), host)
    machine.load()
    try:
        machine.run(timeout_seconds=MOST_SECONDS)
    except DeviceFault as fault:
        where = f"self-test on the emulated {compiled.board.name}"
        raise ToolError(where, f"{fault.what}, at pc {fault.pc:#010x}", "a run to the end") from fault
    return host.text.strip()


def _compiler(compiled: Compiled) -> Compiler:
    return {"zig": zig.compiler, "gcc": gcc.compiler}[compiled.options.cc](compiled.board.core)


def _dialect(unit: str) -> Sequence[str]:
    """Flags for a unit by its language."""
    if not unit.endswith(".cpp"):
        return COMMON_FLAGS
    shared = [flag for flag in COMMON_FLAGS if not flag.startswith("-std=")]
    return ["-x", "c++", "-std=gnu++14", "-fno-exceptions", "-fno-rtti", *shared]
