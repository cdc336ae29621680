"""Compiles emitted networks for the machine that runs the tests, and runs them, under sanitizers where it has them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from midge.emit import Sources

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ZIG = (sys.executable, "-m", "ziglang", "cc")

MAIN = """
#include "{prefix}.h"
#include <stdio.h>
#include <string.h>

static int get(void *to, size_t count) {{ return fread(to, 1, count, stdin) == count; }}

int main(void)
{{
    memset({prefix}_arena, 0xA5, sizeof {prefix}_arena);
    while ({reads}) {{
        {prefix}_run();
        {writes}
    }}
    return 0;
}}
"""


@dataclass(frozen=True, slots=True)
class HostCompiler:
    """The command, with the sanitizers that work."""

    command: tuple[str, ...]
    sanitizers: tuple[str, ...]


@cache
def host_compiler() -> HostCompiler:
    """GCC or clang with sanitizers where a program made so runs here; else zig's clang without."""
    for name in ("gcc", "clang"):
        command = shutil.which(name)
        if command is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
            program = str(source.with_suffix(".exe"))
            made = subprocess.run([command, *SANITIZERS, str(source), "-o", program], capture_output=True, check=False)
            if made.returncode == 0 and subprocess.run([program], check=False).returncode == 0:
                return HostCompiler((command,), SANITIZERS)
    return HostCompiler(ZIG, ())


def write_program(sources: Sources, folder: Path) -> list[str]:
    """The network's files and a main program that reads inputs and writes outputs; returns the files to compile."""
    reads = " && ".join(f"get({port.accessor}(), {port.bytes})" for port in sources.inputs)
    writes = "\n        ".join(f"fwrite({port.accessor}(), 1, {port.bytes}, stdout);" for port in sources.outputs)
    main = f"{sources.prefix}_main.c"
    for name, text in sources.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / main).write_text(MAIN.format(prefix=sources.prefix, reads=reads, writes=writes), encoding="utf-8")
    return [*sources.units, main]


def run_on_host(
    sources: Sources, samples: Sequence[Sequence[np.ndarray]], folder: Path, flags: Sequence[str] = ()
) -> list[list[np.ndarray]]:
    """The outputs for each sample, one after the other on the same memory. AssertionError with the tool's words."""
    compiler = host_compiler()
    program = str((folder / f"{sources.prefix}.exe").resolve())
    options = ["-std=c99", "-O1", *WARNINGS, *compiler.sanitizers, *flags]
    command = [*compiler.command, *options, *write_program(sources, folder)]
    made = subprocess.run([*command, "-o", program], cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"compiling {sources.prefix}:\n{made.stderr[:4000]}"
    data = b"".join(array.tobytes() for sample in samples for array in sample)
    ran = subprocess.run([program], input=data, capture_output=True, check=False, timeout=120)
    assert ran.returncode == 0, f"running {sources.prefix}:\n{ran.stderr.decode(errors='replace')[:4000]}"
    return split_outputs(sources, ran.stdout, len(samples))


def split_outputs(sources: Sources, data: bytes, samples: int) -> list[list[np.ndarray]]:
    """Arrays of each output for each sample."""
    results: list[list[np.ndarray]] = []
    at = 0
    for _ in range(samples):
        arrays = []
        for port in sources.outputs:
            arrays.append(np.frombuffer(data, port.type.dtype.numpy, port.type.elements, at).reshape(port.type.shape))
            at += port.bytes
        results.append(arrays)
    assert at == len(data), f"{len(data)} bytes of output, {at} expected"
    return results
