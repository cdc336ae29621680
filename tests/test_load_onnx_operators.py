"""ONNX's own tests of its operators: what imports computes what they expect, and every operator of the table does."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from midge.errors import ModelError, UnsupportedError
from midge.ir.interpret import run_graph
from midge.load.onnx import load_onnx
from midge.load.onnx.rows import ROWS

DTYPES = (np.float32, np.float16, np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64)
TOLERANCE = {np.dtype(np.float16): 2e-3}
WITHOUT_CASE = {"Einsum", "GlobalLpPool", "Not", "ReduceLogSumExp", "Upsample"}
"""Operators whose own tests are all in float64, or of opset 1; `onnx_networks` has others."""
FUNCTIONS = ("Attention", "CenterCropPad", "DynamicQuantizeLinear", "GroupNormalization",
             "MeanVarianceNormalization", "RMSNormalization", "RotaryEmbedding", "SwiGLU")  # fmt: skip
"""Operators without a row, that are imported by their definition."""


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Any]]:
    """Cases of one operator on tensors of numbers, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found: dict[str, list[Any]] = {}
        for case in collect_testcases(None):
            if case.model is not None and len(case.model.graph.node) == 1 and _is_plain(case):
                found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def _is_plain(case: Any) -> bool:
    values = [value for part in case.data_sets[0] for value in part]
    return all(not isinstance(value, list | dict | str) and value is not None and _array(value).dtype in DTYPES
               for value in values)  # fmt: skip


def _array(value: Any) -> np.ndarray:
    """Cases of casts hold tensors as ONNX writes them."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


@pytest.mark.parametrize("op", [*(name for name in ROWS if ":" not in name), *FUNCTIONS])
def test_operator(op: str, cases: dict[str, list[Any]], tmp_path: Path) -> None:
    agreeing = 0
    for case in cases.get(op, ()):
        for model, feeds in _forms(case):
            try:
                found = _run(model, feeds, tmp_path / "m.onnx")
            except (ModelError, UnsupportedError):
                continue
            for ours, theirs in zip(found, case.data_sets[0][1], strict=True):
                _assert_close(ours, _array(theirs), case.name)
            agreeing += 1
    assert agreeing > 0 or op in WITHOUT_CASE


def _forms(case: Any) -> Iterator[tuple[onnx.ModelProto, Sequence[np.ndarray]]]:
    """The model as it is, and with all inputs but the first as constants, as networks have them."""
    feeds = [_array(value) for value in case.data_sets[0][0]]
    yield case.model, feeds
    if len(feeds) < 2 or len(feeds) != len(case.model.graph.input):
        return
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for port, array in list(zip(model.graph.input, feeds, strict=True))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(array, port.name))
    del model.graph.input[1:]
    yield model, feeds[:1]


def _run(model: onnx.ModelProto, feeds: Sequence[np.ndarray], path: Path) -> list[np.ndarray]:
    """Outputs in the file's order of axes."""
    onnx.save(model, path)
    graph, orders = load_onnx(path)
    inputs = []
    for name, array in zip(graph.inputs, feeds, strict=True):
        type_ = graph.type(name)
        moved = array.transpose(orders[name]) if name in orders else array
        inputs.append(np.ascontiguousarray(moved).astype(type_.dtype.numpy).reshape(type_.shape))
    with np.errstate(all="ignore"):
        outputs = run_graph(graph, inputs)
    return [
        array.transpose(np.argsort(orders[name])) if name in orders else array
        for name, array in zip(graph.outputs, outputs, strict=True)
    ]


def _assert_close(ours: np.ndarray, theirs: np.ndarray, name: str) -> None:
    assert ours.size == theirs.size, name
    tolerance = TOLERANCE.get(theirs.dtype, 2e-5)
    expected = theirs.reshape(ours.shape).astype(np.float64)
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(
        ours.astype(np.float64), expected, rtol=tolerance, atol=tolerance * max(largest, 1e-30), err_msg=name
    )
