"""LiteRT's reference kernels: the oracle for `.tflite` models."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from midge.errors import ToolError, UsageError
from midge.load.model import Model


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send file descriptors 1 and 2 to nowhere: LiteRT's C++ logs would soil `--json` and the one-line errors."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


CURE = "Run `pip install midge[litert]` or `pip install ai-edge-litert`"


class LiteRT:
    """An interpreter with `OpResolverType.BUILTIN_REF`, on one thread."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._interpreter = self._make(keep_all=False)
        self._is_used = False
        # The dtype that handles of resource variables have.
        self._has_resources = any(detail["dtype"] is np.object_ for detail in self._interpreter.get_tensor_details())

    @property
    def version(self) -> str:
        return f"ai-edge-litert {version('ai-edge-litert')}, reference kernels"

    @property
    def steps(self) -> tuple[float, ...]:
        return ()

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        if self._has_resources and self._is_used:
            # `reset_all_variables` does not reset these, and their initialisation runs once only.
            self._interpreter = self._make(keep_all=False)
        self._is_used = True
        self._invoke(self._interpreter, inputs)
        details = self._interpreter.get_output_details()
        return tuple(np.array(self._interpreter.get_tensor(detail["index"])) for detail in details)

    def values(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        interpreter = self._make(keep_all=True)
        self._invoke(interpreter, inputs)
        found = {}
        for detail in interpreter.get_tensor_details():
            with contextlib.suppress(ValueError):  # tensors that no operator fills have no data
                found[detail["name"]] = np.array(interpreter.get_tensor(detail["index"]))
        return found

    def _make(self, keep_all: bool) -> Any:
        with _silence():
            from ai_edge_litert.interpreter import Interpreter, OpResolverType

            interpreter = Interpreter(
                model_content=self._content, num_threads=1,
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=keep_all,
            )  # fmt: skip
            interpreter.allocate_tensors()
        return interpreter

    def _invoke(self, interpreter: Any, inputs: Sequence[np.ndarray]) -> None:
        with _silence():
            # Each sample starts from reset, as on the board. A new interpreter's variables are reset already.
            if not self._has_resources:
                interpreter.reset_all_variables()
            for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
                interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()


def open_reference(model: Model) -> LiteRT:
    if model.path is None or model.path.suffix.lower() != ".tflite":
        raise UsageError("--against litert", f"{model.name} is no .tflite file", cure="Use --against numpy")
    try:
        with _silence():
            import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        raise ToolError(
            "--against litert",
            "the package ai-edge-litert is not installed",
            cure=CURE,
        ) from None
    try:
        return LiteRT(model.path.read_bytes())
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ToolError("--against litert", f"LiteRT does not take {model.name}: {reason}") from error
