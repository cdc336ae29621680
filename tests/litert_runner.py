"""Runs models on LiteRT's reference kernels, where the package is installed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest


def run_litert(content: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a .tflite model; the test is skipped where LiteRT is absent."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    runtime = interpreter.Interpreter(
        model_content=content, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    runtime.allocate_tensors()
    for detail, array in zip(runtime.get_input_details(), inputs, strict=True):
        runtime.set_tensor(detail["index"], array)
    runtime.invoke()
    return [runtime.get_tensor(detail["index"]) for detail in runtime.get_output_details()]


def assert_equal(expected: np.ndarray, found: np.ndarray, where: str) -> None:
    """Integers bit for bit; floats within 1e-5 of the largest magnitude."""
    assert expected.shape == found.shape and expected.dtype == found.dtype, where
    if found.dtype.kind == "f":
        assert np.array_equal(np.isnan(expected), np.isnan(found)), where
        expected, found = np.nan_to_num(expected, posinf=0, neginf=0), np.nan_to_num(found, posinf=0, neginf=0)
        assert np.abs(expected - found).max() <= 1e-5 * max(float(np.abs(expected).max()), 1e-30), where
    else:
        differ = np.flatnonzero(expected != found)
        assert differ.size == 0, f"{where}: {differ.size} of {found.size} values differ, first at {differ[:1]}"
