"""Kernels: one folder for each operator, one file for each instruction set.

Discovery is the sorted folder listing; each file `kernels/<op>/<isa>.py` states `KERNELS`, best first.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache

from midge.errors import InternalError
from midge.kernels.base import Kernel
from midge.ops.base import Op


@cache
def kernel_files() -> dict[tuple[str, str], tuple[Kernel, ...]]:
    """Kernels by operator folder and instruction set."""
    found: dict[tuple[str, str], tuple[Kernel, ...]] = {}
    names: set[str] = set()
    for folder in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if not folder.ispkg:
            continue
        package = importlib.import_module(f"{__name__}.{folder.name}")
        for file in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
            module = importlib.import_module(f"{package.__name__}.{file.name}")
            kernels: tuple[Kernel, ...] | None = getattr(module, "KERNELS", None)
            if kernels is None:  # a helper of the folder's kernels
                continue
            for kernel in kernels:
                if not kernel.name.endswith(f"__{file.name}") or kernel.name in names:
                    raise InternalError(module.__name__, f"kernel name {kernel.name!r}", "a new name ending in the ISA")
                names.add(kernel.name)
            found[folder.name, file.name] = kernels
    return found


def kernels_for(op: Op, isas: Sequence[str]) -> tuple[Kernel, ...]:
    """Kernels of one operator in the order of instruction sets given."""
    return tuple(kernel for isa in isas for kernel in kernel_files().get((op.name, isa), ()))
