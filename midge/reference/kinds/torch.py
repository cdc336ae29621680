"""PyTorch: the reference for modules, exported programs and .pt2 files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from midge.errors import UsageError
from midge.load.live import framework_of
from midge.load.model import Model
from midge.reference.steps import step


class Torch:
    """The module itself, in evaluation mode; inputs and outputs in the graph's order, not the module's."""

    def __init__(self, model: Model, source: Any) -> None:
        import torch

        self._graph, self._orders = model.graph, model.orders
        is_module = isinstance(source, torch.nn.Module)
        self._module: Any = source if is_module else source.module(check_guards=False)

    @property
    def version(self) -> str:
        import torch

        return f"torch {torch.__version__}, CPU"

    @property
    def steps(self) -> tuple[float, ...]:
        return tuple(step(self._graph, name) for name in self._graph.outputs)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        import torch

        from midge.load.torch.program import evaluating

        feeds = [torch.from_numpy(_moved(array, self._orders.get(name), back=True))
                 for name, array in zip(self._graph.inputs, inputs, strict=True)]  # fmt: skip
        with evaluating(self._module), torch.no_grad():
            found = self._module(*feeds)
        outputs = _tensors(found)
        return tuple(
            _moved(output.numpy(), self._orders.get(name)).reshape(self._graph.type(name).shape)
            for name, output in zip(self._graph.outputs, outputs, strict=True)
        )

    def values(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        del inputs
        return {}


def _moved(array: np.ndarray, axes: tuple[int, ...] | None, *, back: bool = False) -> np.ndarray:
    """From the module's axes to the graph's, or back."""
    if axes is None:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array.transpose(np.argsort(axes) if back else axes))


def _tensors(found: Any) -> list[Any]:
    """All tensors of a result that may nest them."""
    if isinstance(found, dict):
        found = list(found.values())
    return [one for part in found for one in _tensors(part)] if isinstance(found, list | tuple) else [found]


def open_reference(model: Model) -> Torch:
    if framework_of(model.source) == "torch":
        return Torch(model, model.source)
    if model.path is None or model.path.suffix.lower() != ".pt2":
        raise UsageError("--against torch", f"{model.name} is no .pt2 file and no module", cure="Use --against numpy")
    from midge.load.torch.program import read_pt2, require_torch

    require_torch("--against torch")
    return Torch(model, read_pt2(model.path))
