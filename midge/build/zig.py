"""The compiler that pip brings: zig's clang."""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from pathlib import Path

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


def host_library(source: Path, *, flags: tuple[str, ...] = ()) -> Path:
    """A shared library for this computer from one C file (and the headers beside it), compiled once per user.

    The cached name carries a hash of everything that decides its content, so a change compiles anew.
    """
    digest = hashlib.sha256()
    for path in sorted(source.parent.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for text in (source.name, version(), sys.platform, platform.machine(), *flags):
        digest.update(text.encode() + b"\0")
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")

    def make(path: Path) -> None:
        command = [*ZIG, "cc", "-mcpu=baseline", "-shared", "-fPIC", "-O2", "-fno-sanitize=all", "-std=c11", *flags,
                   str(source), "-o", str(path)]  # fmt: skip
        run_tool(command, f"compiling {source.name} for this computer")

    return cached(f"{source.stem}-{digest.hexdigest()[:20]}{suffix}", make)
