"""The RAM timeline, and the minimum RAM that `inspect` tells without compiling."""

from __future__ import annotations

from cli_runner import DIGITS
from cli_runner import midge as run
from networks import random_network

import midge
from midge.demo import digits_model
from midge.plan import ALIGN_BYTES, PlanOptions, plan
from midge.report.timeline import levels, live_maxima, lives
from midge.targets import core_board


def test_the_columns_hold_the_peak_and_the_lives() -> None:
    made = plan(random_network(3), core_board("cortex-m4"), PlanOptions("ram"))
    most = max(made.live_bytes(action) for action in range(len(made.schedule)))
    for columns in (1, 7, 48, 500):
        maxima = live_maxima(made, columns)
        assert len(maxima) == columns and max(maxima) == most
        for buffer in made.buffers:
            bar = lives(buffer, made, columns)
            assert len(bar) == columns and bar.strip()
    always = next(buffer for buffer in made.buffers if buffer.role == "output")
    assert lives(always, made, 10).rstrip().endswith(("█", "░"))
    assert levels([0, 1, 8, 16], 16) == " ▁▄█"


def test_the_minimum_is_what_compiling_reaches() -> None:
    for target in ({"board": "nucleo-l4r5zi"}, {"core": "cortex-m0plus"}):
        smallest = midge.inspect(digits_model(), **target).smallest
        assert smallest is not None
        assert smallest.arena_bytes == midge.compile(digits_model(), optimize="ram", **target).ram.activations
    assert midge.inspect(digits_model()).smallest is None


def test_inspect_shows_the_chart() -> None:
    minimum = run("inspect", DIGITS, "--core", "cortex-m4", "--json").object["minimum_ram"]
    end = max(buffer["offset"] + buffer["bytes"] for buffer in minimum["buffers"])
    assert minimum["activations"] == -(-end // ALIGN_BYTES) * ALIGN_BYTES
    text = run("inspect", DIGITS, "--core", "cortex-m4").out
    assert "minimum RAM" in text and "alive together" in text and "█" in text
