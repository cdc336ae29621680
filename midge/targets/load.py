"""Reads `cores/*.toml` and `boards/*.toml`; every field is checked, so that a mistake stops at import.

A core file has the fields of `Core`, and what the bare core (`--core`) needs: `nominal_clock_hz`, maybe `notes`, and
`regions` where its memories lie elsewhere than those of the other bare cores.
A board file has the fields of `Board`, `core` by name, and may have a `[timing]` table that replaces entries of
its core's table: flash wait states, caches, or an option of the core such as the slow multiplier.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NoReturn

from midge.errors import InternalError
from midge.targets.records import Board, Core, Power, Region

REGION_KINDS = ("flash", "ram", "external")
EMULATED = ("unicorn", "qemu", "compile-only", "planned")

TEXT, TEXTS, INTEGER, NUMBER, TRUTH, TABLE, TABLES = (
    "a string", "a list of strings", "an integer", "a number", "true or false", "a table", "a list of tables",
)  # fmt: skip

_CORE_FIELDS = {
    "name": TEXT, "title": TEXT, "architecture": TEXT, "isas": TEXTS, "nominal_clock_hz": INTEGER,
    "zig_target": TEXT, "zig_cpu": TEXT, "gcc_flags": TEXTS, "unicorn_model": TEXT, "qemu_machine": TEXT,
    "hardware_float": TRUTH, "sources": TEXTS,
}  # fmt: skip
_BOARD_FIELDS = {
    "name": TEXT, "title": TEXT, "vendor": TEXT, "mcu": TEXT, "core": TEXT, "clock_hz": INTEGER,
    "regions": TABLES, "emulated": TEXT, "sensors": TEXTS, "packages": TEXTS, "notes": TEXTS, "sources": TEXTS,
}  # fmt: skip
_REGION_FIELDS = {"name": TEXT, "kind": TEXT, "base": INTEGER, "bytes": INTEGER}
_POWER_FIELDS = {"supply_volts": NUMBER, "run_milliamps": NUMBER, "sleep_microamps": NUMBER, "source": TEXT}

ADDRESS_SPACE_BYTES = 1 << 32


@dataclass(frozen=True, slots=True)
class Bare:
    """What only the bare core needs."""

    clock_hz: int
    notes: tuple[str, ...]
    regions: tuple[Region, ...]
    """Empty where it has the memories of all bare cores."""


def load_cores(folder: Traversable | None = None) -> tuple[Mapping[str, Core], Mapping[str, Bare]]:
    """All cores by name, and what their bare boards need."""
    cores: dict[str, Core] = {}
    bares: dict[str, Bare] = {}
    for where, table in _tables(folder or files("midge.targets").joinpath("cores")):
        core, bare = core_of(where, table)
        if core.name in cores:
            _fail(where, f"a second core named `{core.name}`", "each name once")
        cores[core.name], bares[core.name] = core, bare
    return MappingProxyType(cores), MappingProxyType(bares)


def load_boards(cores: Mapping[str, Core], folder: Traversable | None = None) -> Mapping[str, Board]:
    """All boards by name."""
    boards: dict[str, Board] = {}
    for where, table in _tables(folder or files("midge.targets").joinpath("boards")):
        board = board_of(where, table, cores)
        if board.name in boards:
            _fail(where, f"a second board named `{board.name}`", "each name once")
        boards[board.name] = board
    return MappingProxyType(boards)


def core_of(where: str, table: Mapping[str, Any]) -> tuple[Core, Bare]:
    """The core that a parsed file describes."""
    _check_fields(where, table, _CORE_FIELDS, optional={"timing": TABLE, "notes": TEXTS, "regions": TABLES})
    _check_name(where, table["name"])
    if not table["isas"] or table["isas"][-1] != "portable":
        _fail(where, f"`isas` {table['isas']}", "a list that ends with `portable`")
    if table["nominal_clock_hz"] <= 0:
        _fail(where, f"`nominal_clock_hz` {table['nominal_clock_hz']}", "a positive number")
    core = Core(
        name=table["name"],
        title=table["title"],
        architecture=table["architecture"],
        isas=tuple(table["isas"]),
        zig_target=table["zig_target"],
        zig_cpu=table["zig_cpu"],
        gcc_flags=tuple(table["gcc_flags"]),
        unicorn_model=table["unicorn_model"],
        qemu_machine=table["qemu_machine"],
        hardware_float=table["hardware_float"],
        timing=_timing(where, table),
        sources=tuple(table["sources"]),
    )
    regions = _regions(where, table["regions"]) if "regions" in table else ()
    return core, Bare(table["nominal_clock_hz"], tuple(table.get("notes", ())), regions)


def board_of(where: str, table: Mapping[str, Any], cores: Mapping[str, Core]) -> Board:
    """The board that a parsed file describes."""
    _check_fields(where, table, _BOARD_FIELDS, optional={"timing": TABLE, "power": TABLE})
    _check_name(where, table["name"])
    if table["core"] not in cores:
        _fail(where, f"`core` `{table['core']}`", f"one of {', '.join(cores)}")
    if table["emulated"] not in EMULATED:
        _fail(where, f"`emulated` `{table['emulated']}`", f"one of {', '.join(EMULATED)}")
    if table["clock_hz"] <= 0:
        _fail(where, f"`clock_hz` {table['clock_hz']}", "a positive number")
    core = cores[table["core"]]
    if table["emulated"] == "unicorn" and not core.unicorn_model:
        _fail(where, f"`emulated` `unicorn` with core {core.name}", "a core that Unicorn has")
    if table["emulated"] == "qemu" and not core.qemu_machine:
        _fail(where, f"`emulated` `qemu` with core {core.name}", "a core that QEMU has")
    if override := _timing(where, table):
        core = replace(core, timing={**core.timing, **override})
    return Board(
        name=table["name"],
        title=table["title"],
        vendor=table["vendor"],
        mcu=table["mcu"],
        core=core,
        clock_hz=table["clock_hz"],
        regions=_regions(where, table["regions"]),
        power=_power(where, table.get("power")),
        emulated=table["emulated"],
        sensors=tuple(table["sensors"]),
        packages=tuple(table["packages"]),
        notes=tuple(table["notes"]),
        sources=tuple(table["sources"]),
    )


def _tables(folder: Traversable) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of each TOML file of a folder, sorted by name."""
    found = []
    listing = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    for file in sorted(listing, key=lambda file: file.name.removesuffix(".toml")):
        where = f"{folder.name}/{file.name}"
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InternalError(where, f"not TOML: {error}") from error
        found.append((where, table))
    return found


def _regions(where: str, tables: list[dict[str, Any]]) -> tuple[Region, ...]:
    for index, table in enumerate(tables):
        here = f"{where}, regions[{index}]"
        _check_fields(here, table, _REGION_FIELDS)
        if table["kind"] not in REGION_KINDS:
            _fail(here, f"`kind` `{table['kind']}`", f"one of {', '.join(REGION_KINDS)}")
        if table["bytes"] <= 0 or table["base"] < 0 or table["base"] + table["bytes"] > ADDRESS_SPACE_BYTES:
            _fail(here, f"{table['bytes']} bytes at {table['base']:#x}", "a range of the 32-bit address space")
    regions = tuple(Region(**table) for table in tables)
    for kind in ("flash", "ram"):
        if not any(region.kind == kind for region in regions):
            _fail(where, f"no region of kind `{kind}`", "at least one")
    ordered = sorted(regions, key=lambda region: region.base)
    for low, high in pairwise(ordered):
        if low.base + low.bytes > high.base:
            _fail(where, f"regions `{low.name}` and `{high.name}` overlap", "regions apart from each other")
    return regions


def _power(where: str, table: dict[str, Any] | None) -> Power | None:
    if table is None:
        return None
    here = f"{where}, power"
    _check_fields(here, table, _POWER_FIELDS)
    for name in ("supply_volts", "run_milliamps", "sleep_microamps"):
        if table[name] <= 0:
            _fail(here, f"`{name}` {table[name]}", "a positive number")
    return Power(
        supply_volts=float(table["supply_volts"]),
        run_milliamps=float(table["run_milliamps"]),
        sleep_microamps=float(table["sleep_microamps"]),
        source=table["source"],
    )


def _timing(where: str, table: Mapping[str, Any]) -> Mapping[str, int | float | str]:
    timing = table.get("timing", {})
    for name, value in timing.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            _fail(f"{where}, timing", f"`{name}` is {value!r}", "a number or a string")
    return dict(timing)


def _check_fields(where: str, table: Mapping[str, Any], fields: Mapping[str, str],
                  optional: Mapping[str, str] = MappingProxyType({})) -> None:  # fmt: skip
    if missing := [name for name in fields if name not in table]:
        _fail(where, f"no `{'`, no `'.join(missing)}`", f"the fields {', '.join(fields)}")
    known = {**fields, **optional}
    if unknown := [name for name in table if name not in known]:
        _fail(where, f"unknown field `{'`, `'.join(unknown)}`", f"only {', '.join(known)}")
    for name, value in table.items():
        if not _is(value, known[name]):
            _fail(where, f"`{name}` is {value!r}", known[name])


def _is(value: object, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == TRUTH:
        return isinstance(value, bool)
    if kind == TABLE:
        return isinstance(value, dict)
    if kind == INTEGER:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool)
    element = TEXT if kind == TEXTS else TABLE
    return isinstance(value, list) and all(_is(item, element) for item in value)


def _check_name(where: str, name: str) -> None:
    stem = where.rsplit("/", 1)[-1].removesuffix(".toml")
    if name != stem:
        _fail(where, f"`name` `{name}`", f"the file's own name, `{stem}`")


def _fail(where: str, found: str, expected: str) -> NoReturn:
    raise InternalError(where, found, expected)
