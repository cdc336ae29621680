"""Exported programs: from a live module or a .pt2 file to ATen operators without side effects."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from midge.errors import ModelError, ToolError, UnsupportedError, UsageError

CURE = "Run `pip install midge[torch]` or `pip install torch`"
_MOST_BYTES = 1 << 31
_TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""Makes torch.load take no pickle but of tensors, whatever its caller asks for."""


def require_torch(where: str) -> None:
    """Guard: PyTorch is installed."""
    try:
        import torch.export  # noqa: F401
    except ImportError:
        raise ToolError(where, "the package torch is not installed", cure=CURE) from None


def export(source: Any, example_inputs: Any, name: str) -> Any:
    """The torch.export.ExportedProgram of a module in evaluation mode; a program is given back as it is."""
    import torch

    if not isinstance(source, torch.nn.Module):
        return source
    if example_inputs is None:
        raise UsageError(name, "a torch.nn.Module without example inputs", "tensors of the shapes that it will get",
                         "midge.load(module, example_inputs=(torch.zeros(1, 3, 32, 32),))")  # fmt: skip
    examples = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    try:
        with quiet(), evaluating(source), torch.no_grad():
            return torch.export.export(source, examples)
    except Exception as error:  # whatever the module's own code raises, and many kinds of torch's
        raise ModelError(name, f"torch.export does not take the module ({first_line(error)})",
                         "a module that torch.export.export takes with these inputs",
                         "Try torch.export.export(module, example_inputs) alone") from error  # fmt: skip


def read_pt2(path: Path) -> Any:
    """The program of a file."""
    require_torch(path.name)
    import torch

    if path.stat().st_size > _MOST_BYTES:
        raise UnsupportedError(path.name, "a file of more than 2 GB", "a model for a microcontroller")
    try:
        with quiet(), without_code():
            return torch.export.load(str(path))
    except Exception as error:  # zip, JSON and schema errors of many kinds
        raise ModelError(path.name, f"no exported program that PyTorch {torch.__version__} reads ({first_line(error)})",
                         "a file that torch.export.save wrote",
                         "Export the model again with this version of PyTorch") from error  # fmt: skip


def functional(program: Any, name: str) -> Any:
    """The program with one image in a batch, and without operators that change their operands."""
    import torch

    try:
        with quiet(), torch.no_grad():
            return with_fixed_batch(program).run_decompositions({})
    except Exception as error:
        raise ModelError(name, f"torch.export does not make the program functional ({first_line(error)})",
                         "a program that ExportedProgram.run_decompositions takes") from error  # fmt: skip


def with_fixed_batch(program: Any) -> Any:
    """A program with an open batch, exported again for a batch of one; others as they are."""
    import torch

    names = set(program.graph_signature.user_inputs)
    ports = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if all(isinstance(size, int) for port in ports if isinstance(port, torch.Tensor) for size in port.shape):
        return program
    shapes = [[size if isinstance(size, int) else 1 for size in port.shape] for port in ports]
    examples = tuple(torch.zeros(shape, dtype=port.dtype) for shape, port in zip(shapes, ports, strict=True))
    return torch.export.export(program.module(check_guards=False), examples)


@contextmanager
def without_code() -> Iterator[None]:
    """Pickles in a file may hold tensors, and nothing that runs: torch.export.load would run what they say."""
    import torch.export.pt2_archive._package as archive

    before, had = os.environ.get(_TENSORS_ONLY), getattr(archive, "pickle", None)
    os.environ[_TENSORS_ONLY] = "1"
    if had is not None:
        archive.pickle = None  # type: ignore[assignment]
    try:
        yield
    finally:
        os.environ.pop(_TENSORS_ONLY)
        if before is not None:
            os.environ[_TENSORS_ONLY] = before
        if had is not None:
            archive.pickle = had  # type: ignore[assignment]


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """The module in evaluation mode, and its parts as they were afterwards."""
    import torch

    # Graphs that PT2E made refuse the switch, and hold evaluation's operators already.
    parts = [] if isinstance(module, torch.fx.GraphModule) else [part for part in module.modules() if part.training]
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part in parts:
            part.training = True


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings, which speak of its own internals."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
