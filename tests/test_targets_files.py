"""Cores and boards: what their files say holds together, and mistakes in a file are reported well."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest

import midge.targets
from midge.errors import InternalError, UsageError
from midge.targets import boards, core_board, cores, find_board
from midge.targets.load import board_of, core_of, load_boards, load_cores

FOLDER = Path(midge.targets.__file__).parent
KB, MB = 1 << 10, 1 << 20

# Flash, RAM and clock as the data sheets give them: a guard against slips in the files.
LIMITS = {
    "arduino-nano-33-ble-sense": (1 * MB, 256 * KB, 64_000_000),
    "arduino-portenta-h7": (2 * MB, 512 * KB, 480_000_000),
    "bbc-microbit-v1": (256 * KB, 16 * KB, 16_000_000),
    "bbc-microbit-v2": (512 * KB, 128 * KB, 64_000_000),
    "esp-eye": (4 * MB, 328 * KB, 240_000_000),
    "esp32-c3-devkitm-1": (4 * MB, 384 * KB, 160_000_000),
    "himax-we-i-plus": (2 * MB, 2 * MB, 400_000_000),
    "nucleo-l152re": (512 * KB, 80 * KB, 32_000_000),
    "nucleo-l4r5zi": (2 * MB, 640 * KB, 120_000_000),
    "nucleo-u575zi-q": (2 * MB, 768 * KB, 160_000_000),
    "raspberry-pi-pico": (2 * MB, 264 * KB, 133_000_000),
    "raspberry-pi-pico-2": (4 * MB, 520 * KB, 150_000_000),
    "raspberry-pi-zero-2-w": (256 * MB, 256 * MB, 1_000_000_000),
    "sparkfun-edge-2": (1 * MB, 384 * KB, 48_000_000),
    "stm32f4-discovery": (1 * MB, 128 * KB, 168_000_000),
}


# Bare cores whose memories do not lie at 0 and 0x20000000: flash, RAM.
ELSEWHERE = {"rv32imc": (0x8000_0000, 0x8040_0000)}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    board = find_board(name)
    assert (board.flash.bytes, board.ram.bytes, board.clock_hz) == LIMITS[name]


def test_every_file_is_found() -> None:
    assert list(cores()) == sorted(file.stem for file in FOLDER.glob("cores/*.toml"))
    assert list(boards()) == sorted(file.stem for file in FOLDER.glob("boards/*.toml"))
    assert not set(cores()) & set(boards())


@pytest.mark.parametrize("name", boards())
def test_board_is_plausible(name: str) -> None:
    board = boards()[name]
    assert board.sources
    assert 1_000_000 <= board.clock_hz <= 2_000_000_000
    assert all(region.base % 1024 == 0 and region.bytes % 1024 == 0 for region in board.regions)
    if board.power is not None:
        assert board.power.source
        microamps_per_megahertz = board.power.run_milliamps * 1e3 / (board.clock_hz / 1e6)
        assert 1 < microamps_per_megahertz < 1000
        assert board.power.sleep_microamps < 1000 * board.power.run_milliamps


@pytest.mark.parametrize("name", cores())
def test_core_is_a_board_of_its_own(name: str) -> None:
    board = core_board(name)
    assert board.name == board.core.name == name
    flash, ram = ELSEWHERE.get(name, (0, 0x2000_0000))
    assert (board.flash.base, board.flash.bytes) == (flash, 4 * MB)
    assert (board.ram.base, board.ram.bytes) == (ram, 4 * MB)
    assert board.power is None
    assert "nominal clock" in board.notes[0]


@pytest.mark.parametrize("name", cores())
def test_unicorn_has_the_model(name: str) -> None:
    pytest.importorskip("unicorn")
    from midge.emulate.architecture import architecture_of

    core = cores()[name]
    assert not core.unicorn_model or core.unicorn_model in architecture_of(core).models


def test_records_copy_and_pickle() -> None:
    board = find_board("raspberry-pi-pico")
    assert copy.deepcopy(board) == board
    assert pickle.loads(pickle.dumps(board)) == board
    assert dataclasses.asdict(board)["core"]["name"] == "cortex-m0plus"


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("nano33", "expected `arduino-nano-33-ble-sense`."),
        ("pico", "expected `raspberry-pi-pico` or `raspberry-pi-pico-2`."),
        ("stm32l4r5", "expected `nucleo-l4r5zi`."),
        ("arduino-nano-33-ble-sens", "expected `arduino-nano-33-ble-sense`"),
    ],
)
def test_unknown_board_names_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_board(wrong)
    assert nearest in str(caught.value)
    assert str(caught.value).endswith("`midge boards` lists all")


def test_unknown_core_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        core_board("m4")
    assert str(caught.value) == "core `m4`: unknown; expected `cortex-m4`. `midge boards` lists all"


def test_board_and_core_mixed_up() -> None:
    with pytest.raises(UsageError, match="Use `--core cortex-m4`"):
        find_board("cortex-m4")
    with pytest.raises(UsageError, match="Use `--board nucleo-l4r5zi`"):
        core_board("nucleo-l4r5zi")


def _board_table(**changes: Any) -> dict[str, Any]:
    table = tomllib.loads((FOLDER / "boards" / "raspberry-pi-pico.toml").read_text(encoding="utf-8"))
    table.update(changes)
    return {name: value for name, value in table.items() if value is not ...}


def _regions(*ranges: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [{"name": kind, "kind": kind, "base": base, "bytes": size} for kind, base, size in ranges]


WHERE = "boards/raspberry-pi-pico.toml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock_hz": ...}, "no `clock_hz`"),
        ({"colour": "green"}, "unknown field `colour`; expected only name, title"),
        ({"clock_hz": 133.0}, "`clock_hz` is 133.0; expected an integer"),
        ({"clock_hz": True}, "`clock_hz` is True; expected an integer"),
        ({"clock_hz": 0}, "`clock_hz` 0; expected a positive number"),
        ({"notes": "one"}, "`notes` is 'one'; expected a list of strings"),
        ({"name": "pico"}, "`name` `pico`; expected the file's own name, `raspberry-pi-pico`"),
        ({"core": "cortex-m5"}, "`core` `cortex-m5`; expected one of arc-em9d, "),
        ({"emulated": "renode"}, "`emulated` `renode`; expected one of unicorn, qemu"),
        ({"core": "cortex-m55"}, "`emulated` `unicorn` with core cortex-m55; expected a core that Unicorn has"),
        ({"emulated": "qemu"}, "`emulated` `qemu` with core cortex-m0plus; expected a core that QEMU has"),
        ({"regions": _regions(("flash", 0, 1024))}, "no region of kind `ram`; expected at least one"),
        ({"regions": _regions(("rom", 0, 1024))}, ", regions[0]: `kind` `rom`; expected one of flash, ram"),
        ({"regions": _regions(("flash", 0, 0))}, ", regions[0]: 0 bytes at 0x0; expected a range"),
        ({"regions": _regions(("ram", 512, 1024), ("flash", 0, 1024))}, "regions `flash` and `ram` overlap"),
        ({"power": {"supply_volts": 3.3}}, ", power: no `run_milliamps`, no `sleep_microamps`, no `source`"),
        ({"timing": {"load": [1, 2]}}, ", timing: `load` is [1, 2]; expected a number or a string"),
    ],
)
def test_mistakes_in_a_board(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InternalError) as caught:
        board_of(WHERE, _board_table(**changes), cores())
    assert str(caught.value).startswith(WHERE)
    assert message in str(caught.value)


def test_mistakes_in_a_core() -> None:
    table = tomllib.loads((FOLDER / "cores" / "cortex-m3.toml").read_text(encoding="utf-8"))
    with pytest.raises(InternalError, match="a list that ends with `portable`"):
        core_of("cores/cortex-m3.toml", {**table, "isas": []})


def test_board_timing_replaces_the_cores() -> None:
    table = tomllib.loads((FOLDER / "cores" / "cortex-m0plus.toml").read_text(encoding="utf-8"))
    core, _ = core_of("cores/cortex-m0plus.toml", {**table, "timing": {"multiply": 1, "load": 2}})
    known = {**cores(), core.name: core}
    assert board_of(WHERE, _board_table(timing=...), known).core.timing == {"multiply": 1, "load": 2}
    slow = board_of(WHERE, _board_table(timing={"multiply": 32, "flash_wait_states": 3}), known)
    assert slow.core.timing == {"multiply": 32, "load": 2, "flash_wait_states": 3}
    assert known[core.name].timing["multiply"] == 1


def test_broken_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "half.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(InternalError, match=r"half\.toml: not TOML"):
        load_cores(tmp_path)
    with pytest.raises(InternalError, match=r"half\.toml: not TOML"):
        load_boards(cores(), tmp_path)
