"""The compiler that pip brings: zig's clang."""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from pathlib import Path
from typing import Literal

from midge.build.compiler import Compiler
from midge.build.tools import cached, run_tool
from midge.errors import UnsupportedError
from midge.targets.records import Core

ZIG = (sys.executable, "-m", "ziglang")


@functools.cache
def version() -> str:
    """Version of the installed ziglang package, `0.17.1`."""
    return run_tool([*ZIG, "version"], "zig").strip()


def compiler(core: Core) -> Compiler:
    """zig's clang for a core. UnsupportedError where it has no back end for it."""
    if not core.zig_target:
        raise UnsupportedError(f"core {core.name}", "zig has no back end for it", "", "Use a GNU compiler (`--cc gcc`)")
    return Compiler(
        title=f"zig cc {version()}",
        command=(*ZIG, "cc", "-target", core.zig_target, f"-mcpu={core.zig_cpu}"),
        # zig turns UBSan's traps on unless told otherwise, and brings no <string.h> for bare metal.
        compile_flags=("-fno-sanitize=all", "-isystem", "harness/include"),
        link_flags=(),
    )


@functools.cache
def host_processor() -> str:
    """What zig finds this computer's processor to be: model and features, as text."""
    return run_tool([*ZIG, "build-obj", "--show-builtin", "-mcpu=native"], "asking zig for this processor")


def host_library(source: Path, *, flags: tuple[str, ...] = (), cpu: Literal["baseline", "native"] = "baseline") -> Path:
    """A shared library for this computer from one C file (and the C files beside it), compiled once per user.

    `native` uses all that this processor has. The cached name carries a hash of everything that decides the library's
    content, so a change compiles anew, and so does another processor that shares the user's folders.
    """
    digest = hashlib.sha256()
    for path in sorted(source.parent.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    processor = host_processor() if cpu == "native" else ""
    for text in (source.name, version(), sys.platform, platform.machine(), processor, *flags):
        digest.update(text.encode() + b"\0")
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")

    def make(path: Path) -> None:
        command = [*ZIG, "cc", f"-mcpu={cpu}", "-shared", "-fPIC", "-O2", "-fno-sanitize=all", "-std=c11", *flags,
                   str(source), "-o", str(path)]  # fmt: skip
        run_tool(command, f"compiling {source.name} for this computer")

    return cached(f"{source.stem}-{digest.hexdigest()[:20]}{suffix}", make)
