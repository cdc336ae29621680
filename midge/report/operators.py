"""Writes docs/operators.md: `python -m midge.report.operators docs/operators.md` (without a file: to the screen)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import kernel_files
from midge.load.keras.operations import ROWS as KERAS_OPERATIONS
from midge.load.keras.rows import ROWS as KERAS_LAYERS
from midge.load.onnx.rows import ROWS as ONNX_ROWS
from midge.load.tflite.rows import ROWS as TFLITE_ROWS
from midge.load.torch.rows import FOLLOWED as TORCH_FOLLOWED
from midge.load.torch.rows import ROWS as TORCH_ROWS
from midge.ops import CASES, OPERATORS
from midge.targets import cores
from midge.targets.host import host_board
from midge.targets.records import Core

HEADER = """\
# Operators

<!-- Written by `python -m midge.report.operators docs/operators.md` from midge/. Do not edit. -->

What can be imported, and which kernels compute it. An operator that is listed may still be refused with other element
types or attributes than its import has; the message of `midge inspect` says what it found.
"""

MICRO = tuple(
    """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
    NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH
    SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV
    UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
    """.split()  # noqa: SIM905
)
"""The builtin operators of TensorFlow Lite Micro: tensorflow/lite/micro/micro_mutable_op_resolver.h."""


def text() -> str:
    """The whole page."""
    known = [name for name in MICRO if name in TFLITE_ROWS]
    further = sorted(set(TFLITE_ROWS) - set(MICRO))
    parts = [
        HEADER,
        "## In .tflite files\n",
        f"Of TensorFlow Lite Micro's {len(MICRO)} builtin operators, {len(known)} are imported:\n",
        _list(known),
        "Not imported:\n",
        _list(name for name in MICRO if name not in TFLITE_ROWS),
        "Imported, though TensorFlow Lite Micro has no kernel:\n",
        _list(further),
        "## In .onnx files\n",
        f"{len(ONNX_ROWS)} operators are imported:\n",
        _list(sorted(ONNX_ROWS)),
        "## In PyTorch programs\n",
        f"{len(TORCH_ROWS) + len(TORCH_FOLLOWED)} operators of `aten` are imported, after export and decomposition:\n",
        _list(sorted(name.removeprefix("aten.") for name in (*TORCH_ROWS, *TORCH_FOLLOWED))),
        "## In Keras models\n",
        f"{len(KERAS_LAYERS)} layers:\n",
        _list(sorted(KERAS_LAYERS)),
        f"{len(KERAS_OPERATIONS)} functions of `keras.ops`, by the names of their classes (`+` is `Add`):\n",
        _list(sorted(KERAS_OPERATIONS)),
        "## Kernels\n",
        "Each operator of the graph, and the element types of results in its test table (`CASES`) for which an\n"
        "instruction set has a kernel; int16×8 has weights of 8 bits, int8×16 of 16, which are 8-bit weights less a\n"
        "zero point (they lie in flash as bytes). Weights of int4 are int8 from the import on, and in flash. Tensors\n"
        "of uint8 with a scale are int8. Cores without a kernel take the portable one. Reshapes have none.\n",
        _kernel_table(),
    ]
    return "\n".join(parts)


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) + ".\n"


def _kernel_table() -> str:
    found = _cores_by_isa()
    rows = [("operator", *found), ("---",) * (len(found) + 1)]
    rows += [(op, *(_dtypes(op, isa, core) for isa, core in found.items())) for op in OPERATORS if op != "reshape"]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cores_by_isa() -> dict[str, Core]:
    """A core that has each instruction set that there are kernels for, `portable` first."""
    isas = sorted({isa for _, isa in kernel_files()}, key=lambda isa: (isa != "portable", isa))
    every = (*cores().values(), host_board().core)
    return {isa: next(core for core in every if isa in core.isas) for isa in isas}


def _dtypes(op: str, isa: str, core: Core) -> str:
    """`float32, int8`: the element types of the results of those of an operator's test cases that a kernel takes."""
    found = set()
    for case in CASES[op]:
        graph = case.build(np.random.default_rng(0))
        (node,) = graph.nodes
        if any(kernel.refuse(node, graph, core) is None for kernel in kernel_files().get((op, isa), ())):
            found.add(_label(graph, node))
    return ", ".join(sorted(found))


def _label(graph: Graph, node: Node) -> str:
    """The element type of a result, and that of weights where it is another: `int16×8`."""
    result = graph.output_types(node)[0].dtype
    weights = graph.values.get(node.inputs[1] or "") if len(node.inputs) == 3 else None
    kind = result if weights is None or not weights.is_constant else weights.type.dtype
    return result.value if kind is result else f"{result.value}×{8 * kind.bytes}"


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        sys.stdout.write(text())
        return
    Path(arguments[0]).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
