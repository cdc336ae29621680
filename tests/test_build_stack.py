"""The bound of the stack from the machine code: never below what a run takes, and absent where it can't be known."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_network
from networks import random_network

import midge
from midge.build import build
from midge.demo import digits_model
from midge.emulate import emulate
from midge.targets import core_board


@pytest.mark.parametrize("optimize", ["latency", "ram"])
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_no_run_takes_more_than_the_bound(core: str, optimize: str) -> None:
    for model in (digits_model(), random_network(11)):
        result = midge.compile(model, core=core, optimize=optimize).run()
        assert result.ram.stack is not None and result.ram.stack_bound is not None
        assert result.ram.stack <= result.ram.stack_bound <= result.ram.stack + 64


RECURSIVE = """
#include "tiny.h"
_Alignas(4) int8_t tiny_arena[128];
static __attribute__((noinline)) int again(volatile int *left)
{
    return *left-- > 0 ? again(left) + again(left) : 1;
}
__attribute__((noinline)) static void tiny_layer_0(int step)
{
    volatile int left = step;
    tiny_output_1()[0] = again(&left);
}
__attribute__((noinline)) static void tiny_layer_1(int step) { tiny_output_0()[step] = 1; }
void tiny_run(void) { tiny_layer_0(0); tiny_layer_1(0); }
"""

BY_POINTER = """
#include "tiny.h"
_Alignas(4) int8_t tiny_arena[128];
__attribute__((noinline)) static void tiny_layer_0(int step) { tiny_output_1()[step & 7] = step; }
__attribute__((noinline)) static void tiny_layer_1(int step) { tiny_output_0()[step & 7] = 1; }
static void (*volatile chosen)(int) = tiny_layer_0;
void tiny_run(void) { chosen(0); tiny_layer_1(0); tiny_output_0()[1] = 2; }
"""


@pytest.mark.parametrize(("body", "reason"), [(RECURSIVE, "calls itself"), (BY_POINTER, "through r")])
def test_there_is_no_bound_where_the_code_does_not_tell(body: str, reason: str, tmp_path: Path) -> None:
    image = build(tiny_network.sources(body), core_board("cortex-m3"), tmp_path)
    assert image.stack.bytes is None
    assert reason in image.stack.reason


def test_the_deepest_chain_counts(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m0")
    image = build(sources, board, tmp_path)
    assert image.stack.bytes is not None  # the division is a function of the compiler's library
    assert emulate(image, sources, board).stack_bytes <= image.stack.bytes
