"""The tuner: measured on the emulated core, kept, resumed, never slower, exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_runner import DIGITS, midge
from networks import NetworkMaker

import midge as package
from midge.errors import DoesNotFitError, ToolError
from midge.ir.graph import Graph, Node
from midge.kernels.base import Kernel
from midge.plan.costs import Cost, Costs
from midge.targets import core_board, find_board
from midge.tune import Measured, measure_network, measuring
from midge.tune.cache import Cache, Measurement
from midge.tune.trials import trial_board, trials

BOARD = core_board("cortex-m4")


def network() -> Graph:
    """Four layers whose channels come out even for some kernels only."""
    maker = NetworkMaker(11, 10, 8, 8)
    x = maker.depthwise(maker.conv(maker.input, 12, (3, 3)), (3, 3))
    return maker.finish(maker.dense(maker.conv(x, 6, (1, 1)), 5))


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Measurements of this test alone."""
    monkeypatch.setattr("midge.tune.Cache", lambda target, folder=None: Cache(target, folder or tmp_path))
    return tmp_path


def no_emulation(*_: Any, **__: Any) -> None:
    raise AssertionError("emulated again")


def tune(folder: Path, progress: Callable[[int, int], None] | None = None) -> Measured:
    return measure_network(network(), BOARD, "zig", "latency", progress, folder)


class Reversed(Costs):
    """The slowest kernels look best: portable ones cost least."""

    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost:
        return Cost(100 if kernel.name.endswith("__portable") else 110, 10, 10)


def test_tuning_finds_the_faster_kernels(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table that is wrong, the tuned plan is far faster; its numbers stay exact."""
    for place in ("midge.tune.shipped_costs", "midge.plan.shipped_costs"):
        monkeypatch.setattr(place, lambda _: Reversed())
    plain = package.compile(network(), core="cortex-m4")
    tuned = package.compile(network(), core="cortex-m4", tune=True)
    report = tuned.compiled.tuned
    assert report is not None and report.is_taken and not report.failures
    assert report.cycles == (plain.run().cycles, tuned.run().cycles)
    assert report.cycles[1] < 0.7 * report.cycles[0]
    assert report.layers and all(before.endswith("__portable") for _, before, _ in report.layers)
    assert tuned.verify(samples=4).mismatches == 0
    assert list(own_cache.glob("*.jsonl")) == [own_cache / "cortex-m4.jsonl"]


def test_tuned_is_never_slower(own_cache: Path) -> None:
    report = package.compile(network(), core="cortex-m4", tune=True).compiled.tuned
    assert report is not None and report.fresh == report.trials > 0
    assert report.cycles[1] < report.cycles[0] or not report.is_taken


def test_a_second_run_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tune(tmp_path)
    monkeypatch.setattr(measuring, "emulate", no_emulation)
    second = tune(tmp_path)
    assert first.fresh == first.trials == second.trials > 10 and second.fresh == 0
    assert first.costs == second.costs


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_MOST_TRIALS", 8)

    def interrupt(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, interrupt)
    path = tmp_path / "cortex-m4.jsonl"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 16
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"key": "cut sho')  # as a crash leaves it
    steps: list[tuple[int, int]] = []
    resumed = tune(tmp_path, lambda done, total: steps.append((done, total)))
    assert resumed.fresh == resumed.trials - 16 and steps[0] == (0, resumed.fresh)
    assert steps[-1] == (resumed.fresh, resumed.fresh)


def test_budgets_hold_when_tuned(own_cache: Path) -> None:
    free = package.compile(network(), core="cortex-m4", tune=True)
    small = package.compile(network(), core="cortex-m4", tune=True, optimize="flash")
    floor = small.compiled.image.flash.total
    middle = (free.compiled.image.flash.total + floor) // 2
    tight = package.compile(network(), core="cortex-m4", tune=True, flash=middle)
    assert floor <= tight.compiled.image.flash.total <= middle < free.compiled.image.flash.total
    assert free.run().cycles < tight.run().cycles
    with pytest.raises(DoesNotFitError) as caught:
        package.compile(network(), core="cortex-m4", tune=True, flash=floor // 2)
    assert caught.value.exit_code == 3 and "bytes of flash" in caught.value.message()


def test_layers_of_one_shape_are_measured_once() -> None:
    maker = NetworkMaker(5, 8, 8, 8)
    x = maker.input
    for _ in range(3):
        x = maker.conv(x, 8, (1, 1))
    graph = maker.finish(x)
    found = list(trials(graph, trial_board(BOARD), None, "x"))
    portable = {trial.key for trial in found if trial.kernel.name.endswith("__portable")}
    assert len(found) == 3 * len({trial.kernel.name for trial in found})
    assert len(portable) == 3, "each layer has its own zero points, which portable code holds as constants"
    again = list(trials(graph, trial_board(BOARD), None, "x"))
    assert [trial.key for trial in again] == [trial.key for trial in found]


def test_a_board_s_memories_are_a_part_of_the_key() -> None:
    graph = network()
    here, there = (
        {trial.key for trial in trials(graph, trial_board(board), None, "x")}
        for board in (BOARD, find_board("nucleo-l4r5zi"))
    )
    assert not here & there


def test_a_kernel_that_cannot_be_built_is_reported_and_not_chosen(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measuring._run

    def refuse_wide(batch: Any, *rest: Any) -> Any:
        if any("fully_connected_s8_wide" in trial.kernel.name for trial in batch):
            raise ToolError("compiling", "the tool failed: no such instruction")
        return run(batch, *rest)

    monkeypatch.setattr(measuring, "_run", refuse_wide)
    monkeypatch.setattr(measuring, "_MOST_TRIALS", 4)
    tuned = package.compile(network(), core="cortex-m4", tune=True).compiled
    assert tuned.tuned is not None
    assert {failure.split(": ")[0].split(", ")[1] for failure in tuned.tuned.failures} == {
        "fully_connected_s8_wide__armv7em", "fully_connected_s8_wide_to_wide__armv7em",
    }  # fmt: skip
    assert "no such instruction" in tuned.tuned.failures[0]


def test_the_cache_reads_what_it_wrote(tmp_path: Path) -> None:
    found = {"a": Measurement(123, 45), "b": Measurement(None, 0, "why")}
    Cache("core", tmp_path).add(found)
    Cache("core", tmp_path).add({"c": Measurement(1, 2)})
    again = Cache("core", tmp_path)
    assert {key: again.get(key) for key in "abc"} == {**found, "c": Measurement(1, 2)}
    assert again.get("d") is None and Cache("other", tmp_path).get("a") is None


def test_the_command_line_says_what_was_gained(own_cache: Path, tmp_path: Path) -> None:
    found = midge("compile", DIGITS, "--core", "cortex-m4", "--tune", "--json", "-o", tmp_path / "out").object["tuning"]
    assert found["measured"] == found["trials"] > 0 and found["failures"] == []
    assert found["cycles"]["after"] < found["cycles"]["before"] or not found["taken"]
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["tuning"] == found
    header = (tmp_path / "out" / "digits.h").read_text(encoding="utf-8")
    assert "midge compile digits.tflite --core cortex-m4 --tune" in header
    shown = midge("compile", DIGITS, "--core", "cortex-m4", "--tune")
    assert f"{found['cycles']['before']:,} cycles" in shown.out and "0 of them measured now" in shown.out
    ran = midge("run", DIGITS, "--core", "cortex-m4", "--tune", "--json").object
    assert ran["cycles"] == found["cycles"]["after" if found["taken"] else "before"]


def test_without_tuning_nothing_is_said_of_it() -> None:
    assert midge("compile", DIGITS, "--core", "cortex-m4", "--json").object["tuning"] is None


def test_a_core_that_cannot_be_run_cannot_be_tuned_for() -> None:
    outcome = midge("compile", DIGITS, "--core", "cortex-a53", "--tune", "--json")
    assert outcome.status == 4 and outcome.out == ""
