"""Inferences on the emulated board: results, types of ports, and the firmware's own commands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_network

from midge.build import Image, build
from midge.emit.sources import Layer, Port, Sources
from midge.emulate import emulate, emulate_many, fixed_pattern
from midge.emulate.host import Host
from midge.emulate.machine import Machine
from midge.emulate.program import load
from midge.errors import ToolError, UnsupportedError, UsageError
from midge.ir.types import DType, TensorType
from midge.targets import core_board, find_board
from midge.targets.records import Board

TIMED = ("cortex-m0plus", "cortex-m3", "cortex-m4")


def run_command(image: Image, board: Board, command: str, files: dict[str, bytearray] | None = None) -> Host:
    """Run a firmware to its end with a command line."""
    host = Host(command, files or {})
    machine = Machine(board, load(image.elf), host)
    machine.load()
    machine.run()
    return host


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Sources, Board]:
    sources, board = tiny_network.sources(), core_board("cortex-m4")
    return build(sources, board, tmp_path_factory.mktemp("tiny")), sources, board


@pytest.mark.parametrize("core", TIMED)
def test_outputs_and_counts(core: str, tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board(core)
    trace = emulate(build(sources, board, tmp_path), sources, board)
    x = fixed_pattern(sources.inputs[0].type)
    for found, expected in zip(trace.outputs, tiny_network.reference(x), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    assert [layer.name for layer in trace.layers] == ["dot", "divide", "schedule"]
    assert [layer.op for layer in trace.layers] == ["fully_connected", "div", "schedule"]
    assert [layer.macs for layer in trace.layers] == [512, 0, 0]
    assert trace.instructions == sum(layer.instructions for layer in trace.layers)
    assert trace.cycles == sum(layer.cycles for layer in trace.layers)
    assert all(0 < layer.instructions < layer.cycles for layer in trace.layers)
    assert trace.layers[0].instructions > 512
    assert 0 < trace.stack_bytes < 200
    assert trace.backend == "unicorn"


def test_library_code_belongs_to_the_layer_that_calls_it(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m0plus")
    trace = emulate(build(sources, board, tmp_path), sources, board)
    assert trace.layers[1].instructions > 8 * 30, "the division loop of the library is counted for `divide`"


def test_given_inputs(tiny: tuple[Image, Sources, Board]) -> None:
    image, sources, board = tiny
    x = np.random.default_rng(1).integers(-128, 128, (1, 64)).astype(np.int8)
    trace = emulate(image, sources, board, [x])
    for found, expected in zip(trace.outputs, tiny_network.reference(x), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_runs_repeat_exactly(tiny: tuple[Image, Sources, Board]) -> None:
    first, second = emulate(*tiny), emulate(*tiny)
    assert (first.layers, first.stack_bytes) == (second.layers, second.stack_bytes)


def test_many_samples(tiny: tuple[Image, Sources, Board]) -> None:
    image, sources, board = tiny
    generator = np.random.default_rng(2)
    samples = [(generator.integers(-128, 128, (1, 64)).astype(np.int8),) for _ in range(33)]
    begun: list[int] = []
    outputs = emulate_many(image, sources, board, samples, progress=begun.append)
    assert begun == list(range(1, 34))
    for (x,), found in zip(samples, outputs, strict=True):
        for array, expected in zip(found, tiny_network.reference(x), strict=True):
            np.testing.assert_array_equal(array, expected)
    assert emulate_many(image, sources, board, []) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "0 arrays; expected 1: x"),
        ([np.zeros((1, 64), np.float32)], r"float32\[1, 64\]; expected int8\[1, 64\]"),
        ([np.zeros((1, 63), np.int8)], r"int8\[1, 63\]; expected int8\[1, 64\]"),
    ],
)
def test_wrong_inputs(tiny: tuple[Image, Sources, Board], inputs: list[np.ndarray], message: str) -> None:
    image, sources, board = tiny
    with pytest.raises(UsageError, match=message):
        emulate(image, sources, board, inputs)


def test_printed_outputs(tiny: tuple[Image, Sources, Board]) -> None:
    image, sources, board = tiny
    y, sums = (array.ravel().tolist() for array in emulate(image, sources, board).outputs)
    expected = f"output 0: {' '.join(map(str, y))}\noutput 1: {' '.join(map(str, sums))}\n"
    for command in ("", "fw", "fw 1", "fw 3"):
        host = run_command(image, board, command)
        assert (host.text, host.exit_failed) == (expected, False)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fw x", "usage: fw [N [INFILE OUTFILE]]\n"),
        ("fw 1 in.bin", "usage: fw [N [INFILE OUTFILE]]\n"),
        ("fw 1 absent out", "error: cannot open the input or the output file\n"),
        ("fw 2 in.bin out", "error: the input file is too short\n"),
    ],
)
def test_wrong_commands(tiny: tuple[Image, Sources, Board], command: str, message: str) -> None:
    image, _, board = tiny
    host = run_command(image, board, command, {"in.bin": bytearray(64)})
    assert (host.text, host.exit_failed) == (message, True)


def echo_network(type_: TensorType) -> Sources:
    """A network whose output is its input, byte by byte."""
    header = f"""
    #include <stdint.h>
    typedef {type_.dtype.c_name} tiny_element;
    extern _Alignas(8) unsigned char tiny_arena[{2 * type_.bytes}];
    static inline tiny_element *tiny_input_0(void) {{ return (tiny_element *)(void *)tiny_arena; }}
    static inline tiny_element *tiny_output_0(void) {{ return (tiny_element *)(void *)(tiny_arena + {type_.bytes}); }}
    void tiny_run(void);
    """
    body = f"""
    #include "tiny.h"
    _Alignas(8) unsigned char tiny_arena[{2 * type_.bytes}];
    __attribute__((noinline)) static void tiny_layer_0(void)
    {{
        for (int i = 0; i < {type_.bytes}; ++i)
            tiny_arena[{type_.bytes} + i] = tiny_arena[i];
    }}
    void tiny_run(void) {{ tiny_layer_0(); tiny_arena[0] ^= 1; }}
    """
    return tiny_network.sources(
        files={"tiny.h": header, "tiny.c": body}, inputs=(Port("x", type_, "tiny_input_0"),),
        outputs=(Port("y", type_, "tiny_output_0"),), layers=(Layer("echo", "copy", "tiny_layer_0", 0),),
        arena_bytes=2 * type_.bytes, weight_bytes=0,
    )  # fmt: skip


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("dtype", list(DType))
def test_types_of_ports(dtype: DType, core: str, tmp_path: Path) -> None:
    type_ = TensorType(dtype, (1, 300))
    sources, board = echo_network(type_), core_board(core)
    image = build(sources, board, tmp_path)
    pattern = fixed_pattern(type_)
    (found,) = emulate(image, sources, board).outputs
    np.testing.assert_array_equal(found, pattern, strict=True)
    # The firmware makes the same pattern by itself, and prints it.
    text = re.fullmatch("output 0: (.*)\n", run_command(image, board, "fw").text)
    assert text is not None
    if dtype is DType.FLOAT32:
        words = [f"{word:#010x}" for word in pattern.view(np.uint32).ravel().tolist()]
        assert text[1].split() == words
    else:
        assert [int(word) for word in text[1].split()] == pattern.astype(np.int64).ravel().tolist()


def test_pattern() -> None:
    int8 = fixed_pattern(TensorType(DType.INT8, (1, 4)))
    assert int8.tolist() == [[11 - 128, 48 - 128, 85 - 128, 122 - 128]]
    assert fixed_pattern(TensorType(DType.UINT8, (1, 2))).tolist() == [[139, 176]]
    assert fixed_pattern(TensorType(DType.INT16, (2,))).tolist() == int8.view("<i2").ravel().tolist()
    assert fixed_pattern(TensorType(DType.FLOAT32, (2,))).tolist() == [-117 / 128, -80 / 128]


def test_init_runs_once_and_is_not_counted(tmp_path: Path) -> None:
    body = tiny_network.text() + "void tiny_init(void) { for (int i = 0; i < 1000; ++i) base = 3; }"
    body = body.replace("void tiny_run", "static int8_t base;\nvoid tiny_init(void);\nvoid tiny_run", 1).replace(
        "tiny_layer_1(step);", "tiny_layer_1(step);\n tiny_output_0()[step] = (int8_t)(tiny_output_0()[step] + base);"
    )
    header = tiny_network.HEADER.replace("void tiny_run", "void tiny_init(void);\nvoid tiny_run")
    sources = tiny_network.sources(files={"tiny.h": header, "tiny.c": body}, init_symbol="tiny_init", arena_bytes=128)
    board = core_board("cortex-m4")
    trace = emulate(build(sources, board, tmp_path), sources, board)
    expected, _ = tiny_network.reference(fixed_pattern(sources.inputs[0].type))
    np.testing.assert_array_equal(trace.outputs[0], expected + 3)
    assert trace.layers[-1].instructions < 200


@pytest.mark.parametrize("name", ["arduino-nano-33-ble-sense", "raspberry-pi-pico", "nucleo-l4r5zi"])
def test_real_boards(name: str, tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), find_board(name)
    trace = emulate(build(sources, board, tmp_path), sources, board)
    expected, _ = tiny_network.reference(fixed_pattern(sources.inputs[0].type))
    np.testing.assert_array_equal(trace.outputs[0], expected)


def test_core_without_timing_table_says_so(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m7")
    image = build(sources, board, tmp_path)
    if not board.core.timing:
        with pytest.raises(UnsupportedError, match="no timing table"):
            emulate(image, sources, board)
    (found,) = emulate_many(image, sources, board, [(fixed_pattern(sources.inputs[0].type),)])
    np.testing.assert_array_equal(found[0], tiny_network.reference(fixed_pattern(sources.inputs[0].type))[0])


def test_core_without_model_says_so(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m55")
    with pytest.raises(UnsupportedError, match="no model of it"):
        emulate_many(build(sources, board, tmp_path), sources, board, [(fixed_pattern(sources.inputs[0].type),)])


def test_firmware_that_never_ends(tmp_path: Path) -> None:
    head = "void tiny_run(void)\n{"
    body = tiny_network.text().replace(head, f'{head}\n    for (;;)\n        __asm volatile("");')
    sources, board = tiny_network.sources(body), core_board("cortex-m4")
    image = build(sources, board, tmp_path)
    machine = Machine(board, load(image.elf), Host("fw"))
    machine.load()
    with pytest.raises(ToolError, match="no end after 1 s"):
        machine.run(timeout_seconds=1)
