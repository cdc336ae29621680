"""The flags of each core make the compilers emit code for that core: its FPU, DSP and Helium included."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from midge.targets import cores

# Macros of the Arm C Language Extensions (of RISC-V's C API) that code of each core is compiled under; None: undefined.
MACROS: dict[str, dict[str, str | None]] = {
    "cortex-m0": {"__ARM_ARCH": "6", "__ARM_FEATURE_DSP": None, "__ARM_PCS_VFP": None},
    "cortex-m0-small-multiply": {"__ARM_ARCH": "6", "__ARM_FEATURE_DSP": None, "__ARM_PCS_VFP": None},
    "cortex-m0plus": {"__ARM_ARCH": "6", "__ARM_FEATURE_DSP": None, "__ARM_PCS_VFP": None},
    "cortex-m3": {"__ARM_ARCH": "7", "__ARM_FEATURE_DSP": None, "__ARM_PCS_VFP": None},
    "cortex-m4": {"__ARM_ARCH": "7", "__ARM_FEATURE_DSP": "1", "__ARM_PCS_VFP": "1"},
    "cortex-m7": {"__ARM_ARCH": "7", "__ARM_FEATURE_DSP": "1", "__ARM_PCS_VFP": "1"},
    "cortex-m33": {"__ARM_ARCH": "8", "__ARM_FEATURE_DSP": "1", "__ARM_PCS_VFP": "1"},
    "cortex-m55": {"__ARM_ARCH": "8", "__ARM_FEATURE_DSP": "1", "__ARM_PCS_VFP": "1", "__ARM_FEATURE_MVE": "3"},
    "cortex-a53": {"__ARM_ARCH": "8", "__aarch64__": "1"},
    "rv32imc": {"__riscv_xlen": "32", "__riscv_mul": "1", "__riscv_compressed": "1", "__riscv_atomic": None},
}
SOURCE = "#include <stdint.h>\nint32_t f(int32_t a, float b) { return a * 3 + (int32_t)(b * 2.0f); }\n"
ARM_GCC_CORES = [name for name in MACROS if name.startswith("cortex-m")]


def _check(command: list[str], name: str, folder: Path) -> None:
    source = folder / "probe.c"
    source.write_text(SOURCE, encoding="utf-8")
    subprocess.run([*command, "-O2", "-c", str(source), "-o", str(folder / "probe.o")], check=True)
    listing = subprocess.run([*command, "-dM", "-E", str(source)], check=True, capture_output=True, text=True).stdout
    defined = dict(line.split(" ", 2)[1:] for line in listing.splitlines() if line.count(" ") >= 2)
    assert {macro: defined.get(macro) for macro in MACROS[name]} == MACROS[name]


def test_every_core_with_a_zig_target_is_covered() -> None:
    assert sorted(MACROS) == [name for name, core in cores().items() if core.zig_target]


@pytest.mark.parametrize("name", MACROS)
def test_zig(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    core = cores()[name]
    flags = ["-target", core.zig_target, f"-mcpu={core.zig_cpu}", "-fno-sanitize=all"]
    _check([sys.executable, "-m", "ziglang", "cc", *flags], name, tmp_path)


@pytest.mark.parametrize("name", ARM_GCC_CORES)
def test_gcc(name: str, tmp_path: Path) -> None:
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    _check([gcc, *cores()[name].gcc_flags], name, tmp_path)
