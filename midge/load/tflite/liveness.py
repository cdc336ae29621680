"""Which operators of a subgraph count, and whether they make what is read."""

from __future__ import annotations

from midge.errors import ModelError
from midge.load.tflite.file import RawModel, RawOperator
from midge.load.tflite.variables import EFFECTS


def live_operators(raw: RawModel) -> list[RawOperator]:
    """The operators that some output or variable depends on, in the file's order."""
    needed = set(raw.outputs)
    live = []
    for operator in reversed(raw.operators):
        if needed.intersection(operator.outputs) or operator.code in EFFECTS:
            live.append(operator)
            needed.update(operator.inputs)
    return live[::-1]


def check_results(raw: RawModel, live: list[RawOperator]) -> None:
    """Every tensor is made once, and every output is made."""
    defined = {tensor.index for tensor in raw.tensors if tensor.data is not None} | set(raw.inputs)
    for operator in live:
        for index in operator.outputs:
            if index in defined:
                raise ModelError(f"{raw.file}: layer {operator.index} ({operator.code})",
                                 f"tensor {index} {raw.tensors[index].name!r} made a second time",
                                 "one layer to make each tensor", "Export the model again")  # fmt: skip
            defined.add(index)
    for index in raw.outputs:
        if index not in defined:
            raise ModelError(f"{raw.file}: output {raw.tensors[index].name!r}", "nothing that makes it",
                             "a layer's result", "Export the model again")  # fmt: skip
