"""The verbs from Python."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import midge
from midge import demo
from midge.api import verification
from midge.build.compiled import c_prefix
from midge.errors import MidgeError, ToolError, UsageError
from midge.ir.interpret import run_graph
from midge.report import files

NANO = "arduino-nano-33-ble-sense"


@pytest.fixture(scope="module")
def program() -> midge.Program:
    return midge.compile(demo.digits_model(), board=NANO)


def test_importing_midge_is_light() -> None:
    code = "import sys, midge; print(sorted({'numpy', 'unicorn', 'click', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_exports_are_there() -> None:
    for name in midge.__all__:
        assert name in dir(midge)
        if name == "MidgeQuantizer" and find_spec("torchao") is None:
            with pytest.raises(ToolError, match=r"is not installed. Run `pip install midge\[pt2e\]`"):
                getattr(midge, name)
        else:
            assert getattr(midge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = midge.nonsense  # type: ignore[attr-defined]


def test_load_is_a_verb_and_a_folder() -> None:
    from midge.load import load

    assert len(midge.load(demo.digits_model()).nodes) == len(load(demo.digits_model()).nodes)


def test_run_equals_the_interpreter(program: midge.Program) -> None:
    images, _ = demo.digits_samples()
    for form in (images[:1], [images[:1]], {program.inputs[0].name: images[:1]}):
        result = program.run(form)
        assert np.array_equal(result.outputs[0], run_graph(program.model.graph, [images[:1]])[0])
    assert result.ram.total == result.ram.activations + result.ram.static + (result.ram.stack or 0)
    assert program.ram.stack is None
    assert result.backend == "unicorn" and "zig" in result.compiler


def test_a_graph_in_memory_compiles_too(program: midge.Program) -> None:
    again = midge.compile(midge.load(demo.digits_model()), board=NANO)
    assert again.model.path is None and len(again.model.sha256) == 64
    assert np.array_equal(again.run().outputs[0], program.run().outputs[0])
    with pytest.raises(UsageError, match=r"no \.tflite file"):
        again.verify(samples=1, against="litert")


def test_inspect_by_core() -> None:
    found = midge.inspect(demo.digits_model(), core="cortex-m0plus")
    assert [fit.board.name for fit in found.fits] == ["cortex-m0plus"] and found.fits[0].fits


def test_mismatches_name_sample_index_and_layer(program: midge.Program, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        version = "wrong on purpose"
        steps = ()

        def run(self, inputs):
            (output,) = run_graph(program.model.graph, inputs)
            output = output.copy()
            output[0, 3] += np.int8(1) if output[0, 3] < 127 else np.int8(-1)
            return (output,)

        def values(self, inputs):
            return {}

    monkeypatch.setattr(verification, "open_reference", lambda name, model: Wrong())
    found = program.verify(samples=2)
    assert not found.passed and (found.mismatches, found.max_abs_diff, found.values) == (2, 1, 20)
    assert found.first is not None and (found.first.sample, found.first.index) == (0, (0, 3))
    assert found.first.layer == program.model.graph.nodes[-1].name


def test_firmware_lives_as_long_as_its_program() -> None:
    made = midge.compile(demo.digits_model(), core="cortex-m3")
    folder = made.compiled.image.elf.parent
    assert folder.is_dir()
    del made
    gc.collect()
    assert not folder.exists()


def test_sources_are_deterministic(program: midge.Program) -> None:
    assert dict(midge.compile(demo.digits_model(), board=NANO).files) == dict(program.files)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "none given"),
        ({"board": NANO, "core": "cortex-m4"}, "both given"),
        ({"board": NANO, "optimize": "beauty"}, "one of latency, ram, flash"),
        ({"board": NANO, "cc": "tcc"}, "one of zig, gcc"),
        ({"board": NANO, "ram": 0}, "a positive number"),
        ({"board": NANO, "numerics": "exact"}, "one of litert, tflm"),
    ],
)
def test_wrong_arguments(arguments: dict, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        midge.compile(demo.digits_model(), **arguments)
    assert said in str(caught.value)


def test_errors_have_one_base() -> None:
    with pytest.raises(MidgeError):
        midge.compile("absent.tflite", board=NANO)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("kws_ref_model.tflite", "kws_ref_model"), ("Person Detect-96.tflite", "person_detect_96"),
     ("int.tflite", "net_int"), ("string.tflite", "string_net"), ("96.tflite", "net_96"), ("ä.tflite", "net")],
)  # fmt: skip
def test_c_names(name: str, prefix: str) -> None:
    assert c_prefix(name) == prefix


def test_staged_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(ZeroDivisionError), files.staged(out, overwrite=False) as folder:
        (folder / "a.txt").write_text("a", encoding="utf-8")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with files.staged(out, overwrite=False) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "a.txt").write_text("a", encoding="utf-8")
    assert (out / "below" / "a.txt").read_text(encoding="utf-8") == "a"
    with files.staged(out, overwrite=True) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "b.txt").write_text("b", encoding="utf-8")
    assert sorted(path.name for path in (out / "below").iterdir()) == ["a.txt", "b.txt"]
    assert [path for path in out.iterdir() if path.name.startswith(".")] == []
