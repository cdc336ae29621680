"""Exact block counts of a Unicorn run: `native/unicorn_counter.c`, compiled once per computer, as its hooks."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
from unicorn import arm_const

from midge.build.zig import host_library
from midge.emulate.accesses import Accesses
from midge.emulate.owners import Owners
from midge.errors import InternalError

NATIVE = Path(__file__).parent / "native"
BLOCK_COUNT = 1 << 17
BLOCK = np.dtype(
    [("address", "<u4"), ("bytes", "<u4"), ("owner", "<u4"), ("used", "<u4"), ("counts", "<u8", (2, 2))]
)  # fmt: skip
"""`counts[entered by a branch][left by a branch]`."""
TALLY = np.dtype(
    [
        ("fetch", "<u8"),
        ("fetch_next", "<u8"),
        ("read", "<u8"),
        ("read_next", "<u8"),
        ("ram", "<u8"),
        ("unaligned", "<u8"),
    ]
)
"""Misses of the caches in sectors (of them those that follow the sector before), and further bus transfers."""
UNALIGNED = np.dtype([("address", "<u4"), ("bytes", "<u4"), ("pc", "<u4"), ("used", "<u4")])
UNALIGNED_SITES = 1024
CACHE_LINES, SECTORS_OF_A_LINE = 2048, 32
UC_HOOK_CODE, UC_HOOK_BLOCK = 1 << 2, 1 << 3


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(host_library(NATIVE / "unicorn_counter.c")))
    pointer, word = ctypes.c_void_p, ctypes.c_uint32
    library.midge_configure.argtypes = [pointer, pointer, ctypes.c_int, pointer, pointer, word, pointer, word]
    library.midge_add_range.argtypes = [pointer, word, word, word, word]
    library.midge_watch.argtypes = [pointer, pointer, pointer]
    library.midge_set_cache.argtypes = [pointer, ctypes.c_int, word, word, word, word]
    library.midge_set_memories.argtypes = [pointer, word, word, word, word, word, word]
    for function in (library.midge_enable, library.midge_disable, library.midge_owner, library.midge_full,
                     library.midge_unaligned):  # fmt: skip
        function.argtypes = [pointer]
    library.midge_unaligned.restype = pointer
    library.midge_owner.restype = library.midge_full.restype = library.midge_hooks_bytes.restype = word
    return library


class Counter:
    """Counts blocks while enabled. Keep it alive as long as the Unicorn instance runs."""

    def __init__(self, uc: Any, owners: Owners, accesses: Accesses | None = None) -> None:
        """With `accesses`, these loads and stores are watched too: for caches of data and for alignment."""
        library = _library()
        self._library, self._uc = library, uc
        self._owners = np.ascontiguousarray(owners.table, np.uint16)
        self._blocks = np.zeros(BLOCK_COUNT, BLOCK)
        self._tallies = np.zeros(len(owners.names) + 1, TALLY)
        self._hooks = ctypes.create_string_buffer(library.midge_hooks_bytes())
        uclib = _unicorn_library()
        library.midge_configure(
            self._hooks, ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p), arm_const.UC_ARM_REG_APSR,
            self._owners.ctypes.data, self._blocks.ctypes.data, BLOCK_COUNT, self._tallies.ctypes.data, owners.first,
        )  # fmt: skip
        first = 0
        for number, (base, count) in enumerate(owners.ranges):
            library.midge_add_range(self._hooks, number, base, count, first)
            first += count // 2
        self._add(uclib, UC_HOOK_BLOCK, library.midge_on_block)
        if accesses is not None:
            self._accesses = accesses
            library.midge_watch(self._hooks, accesses.numbers.ctypes.data, accesses.records.ctypes.data)
            self._add(uclib, UC_HOOK_CODE, library.midge_on_instruction)

    def _add(self, uclib: Any, kind: int, function: Any) -> None:
        handle = ctypes.c_size_t()
        everywhere_begin, everywhere_end = ctypes.c_uint64(1), ctypes.c_uint64(0)
        status = uclib.uc_hook_add(
            self._uc._uch, ctypes.byref(handle), kind, ctypes.cast(function, ctypes.c_void_p),
            ctypes.cast(self._hooks, ctypes.c_void_p), everywhere_begin, everywhere_end,
        )  # fmt: skip
        if status != 0:
            raise InternalError("unicorn", f"uc_hook_add returned {status}", "0")

    def set_memories(self, flash: tuple[int, int], ram: tuple[int, int], unified: bool, uncached_reads: bool) -> None:
        """Base and bytes of what lies behind the caches; `unified`: data go through the cache of fetches."""
        self._library.midge_set_memories(self._hooks, *flash, *ram, int(unified), int(uncached_reads))

    def set_cache(self, of_reads: bool, lines: int, ways: int, line_bytes: int, sector_bytes: int) -> None:
        """Run a cache in front of them: of instruction fetches, or of data."""
        if lines > CACHE_LINES or lines % ways or not 0 < line_bytes // sector_bytes <= SECTORS_OF_A_LINE:
            found = f"a cache of {lines} lines in sets of {ways}, {line_bytes // sector_bytes} sectors a line"
            expected = f"whole sets of at most {CACHE_LINES} lines of 1 to {SECTORS_OF_A_LINE} sectors"
            raise InternalError("counter", found, expected)
        self._library.midge_set_cache(self._hooks, int(of_reads), lines, ways, line_bytes, sector_bytes)

    def enable(self) -> None:
        self._library.midge_enable(self._hooks)

    def disable(self) -> None:
        """Stop counting; the block that ran last is counted as left by a branch."""
        self._library.midge_disable(self._hooks)
        if self._library.midge_full(self._hooks):
            raise InternalError("counter", f"more than {BLOCK_COUNT} blocks or {UNALIGNED_SITES} unaligned accesses")

    @property
    def owner(self) -> int:
        """The current owner."""
        return int(self._library.midge_owner(self._hooks))

    @property
    def blocks(self) -> np.ndarray:
        """Records of type BLOCK of the blocks that ran, sorted by address, size and owner."""
        used = self._blocks[self._blocks["used"] != 0]
        return np.sort(used, order=["address", "bytes", "owner"])

    @property
    def tallies(self) -> np.ndarray:
        """Records of type TALLY by owner; number 0 belongs to nobody."""
        return self._tallies.copy()

    @property
    def unaligned(self) -> np.ndarray:
        """Records of type UNALIGNED: the first access at each instruction that made one."""
        address = self._library.midge_unaligned(self._hooks)
        size = UNALIGNED_SITES * UNALIGNED.itemsize
        sites = np.frombuffer(ctypes.string_at(address, size), UNALIGNED)
        return sites[sites["used"] != 0]


def _unicorn_library() -> Any:
    """The C library under Unicorn's Python binding."""
    import unicorn

    for name in ("unicorn_py3.unicorn", "unicorn"):
        module: Any = unicorn
        for part in name.split("."):
            module = getattr(module, part, None)
        if hasattr(module, "uclib"):
            return module.uclib
    raise InternalError("unicorn", "this version keeps its library elsewhere", "`uclib`")
