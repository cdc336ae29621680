"""One model against its own runtime: imported, compiled, run, compared. The result is a record of plain values."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import limited
import numpy as np
from conformance_scope import out_of_scope
from limited import Limits, Record

import midge
from midge import pipeline, targets
from midge.build.compiled import Options
from midge.errors import MidgeError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ir.types import DType
from midge.load.model import Model
from midge.reference import Reference, open_reference
from midge.reference.compare import Comparison
from midge.reference.samples import random_samples
from midge.targets.records import Board, Region

Outputs = Sequence[np.ndarray]
Samples = Sequence[tuple[np.ndarray, ...]]
SAMPLES = 3
RUNTIME_LIMITS = Limits(120.0, 6 << 30)
MOST_MACS = 200_000_000
"""Above it a model is compiled for the core, and run on this computer."""
MOST_CONSTANT_BYTES = 16 << 20
"""Above it a model is computed by Midge's interpreter."""
_FLASH, _RAM = Region("flash", "flash", 0, 1 << 28), Region("ram", "ram", 0x20000000, 1 << 28)
_SMALL_INTEGERS = (4, 2)
"""Inputs of wide integers are drawn below the first of these that the runtime takes: tables have as many rows."""


def examine(path: Path) -> Record:
    """Everything about one file: what it is (`invalid`, `scope`), and how far it comes."""
    record: Record = {"midge": midge.__version__, "invalid": invalid(path)}
    record["scope"] = "" if record["invalid"] else out_of_scope(path)
    try:
        model = pipeline.load_model(path, "litert")
    except MidgeError as error:
        return record | {"imported": False, "kind": type(error).__name__, "refused": str(error)}
    graph = model.graph
    weight_bytes = sum(value.type.bytes for value in graph.constants())
    record |= {"imported": True, "macs": graph.total_macs, "constant_bytes": weight_bytes, "nodes": len(graph.nodes),
               "rearranged": sum(node.op.name in ("rearrange", "take") for node in graph.nodes)}  # fmt: skip
    if record["invalid"]:
        return record
    samples = _samples(model)
    expected = [run_graph(graph, sample) for sample in samples]
    found: Sequence[Outputs] = expected
    try:
        made, found = _run(model, weight_bytes, samples, expected)
        record |= made
    except MidgeError as error:
        record |= {"compiled": False, "failed": str(error)}
    return record | _against_runtime(model, samples, found)


def without_limits() -> Board:
    """A Cortex-M4 with memories that no model of these fills."""
    return replace(targets.core_board("cortex-m4"), regions=(_FLASH, _RAM))


def _samples(model: Model) -> Samples:
    most, *smaller = _SMALL_INTEGERS
    samples = _samples_below(model.graph, most)
    has_indices = any(model.graph.type(name).dtype in (DType.INT32, DType.INT64) for name in model.graph.inputs)
    for less in smaller if has_indices else ():
        try:
            for sample in samples:
                _reference(model).run(sample)
        except (RuntimeError, MidgeError):  # an index past the end of a table
            samples = _samples_below(model.graph, less)
    return samples


def _samples_below(graph: Graph, most: int) -> Samples:
    samples = random_samples([graph.type(name) for name in graph.inputs], SAMPLES)
    return [
        tuple(a % most if a.dtype.kind == "i" and a.dtype.itemsize > 2 else a for a in arrays) for arrays in samples
    ]


def _reference(model: Model) -> Reference:
    return open_reference("onnxruntime" if model.name.endswith(".onnx") else "litert", model)


def _run(model: Model, weight_bytes: int, samples: Samples, expected: Sequence[Outputs]
         ) -> tuple[Record, Sequence[Outputs]]:  # fmt: skip
    """Compile for the core and run there, or as far as the caps allow; compare with the interpreter."""
    if weight_bytes > MOST_CONSTANT_BYTES:
        return {"where": "interpreter"}, expected
    board = without_limits()
    with tempfile.TemporaryDirectory(prefix="midge-conformance-") as folder:
        compiled = pipeline.compile_model(model, board, Options(), Path(folder))
        record: Record = {"compiled": True, "where": "core", "flash_bytes": compiled.image.flash.total}
        if model.graph.total_macs > MOST_MACS:
            record["where"] = "host"
            found: Sequence[Outputs] = list(zip(*pipeline.run_on_host(model, samples), strict=True))
        else:
            found = list(pipeline.run_samples(compiled, samples, None))
    exact = Comparison()
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        exact = exact.add(number, ours, theirs)
    return record | {"values": exact.values, "from_interpreter": exact.mismatches}, found


def _against_runtime(model: Model, samples: Samples, found: Sequence[Outputs]) -> Record:
    """What the firmware made against LiteRT or ONNX Runtime."""
    reference = _reference(model)
    total = Comparison()
    for number, (sample, ours) in enumerate(zip(samples, found, strict=True)):
        theirs = reference.run(sample)
        total = total.add(number, ours, [a.reshape(b.shape) for a, b in zip(theirs, ours, strict=True)],
                          reference.steps)  # fmt: skip
    return {
        "reference": reference.version, "compared": total.values, "mismatches": total.mismatches,
        "max_abs_diff": float(total.max_abs_diff), "max_rel_diff": float(total.max_rel_diff),
        "steps": any(reference.steps),
    }  # fmt: skip


def invalid(path: Path) -> str:
    """Why the model's own runtime does not take it; empty where it does. In a process of its own: runtimes crash."""
    ((_, record),) = limited.each(_tried, [path], RUNTIME_LIMITS, jobs=1)
    return record["reason"] if "reason" in record else f"the runtime {record['died']}"


def _tried(path: Path) -> Record:
    try:
        if path.suffix == ".onnx":
            _run_onnxruntime(path)
        else:
            _run_litert(path)
    except Exception as error:  # each runtime raises kinds of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return {"reason": reason.replace(str(path), path.name)[:200]}
    return {"reason": ""}


def _run_litert(path: Path) -> None:
    from midge.reference.kinds.litert import LiteRT

    reference = LiteRT(path.read_bytes())
    details = reference._interpreter.get_input_details()
    reference.run([np.zeros(detail["shape"], detail["dtype"]) for detail in details])


def _run_onnxruntime(path: Path) -> None:
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        if "topologically sorted" not in str(error):
            raise
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {}
    for port in session.get_inputs():
        if not port.type.startswith("tensor("):
            return
        dtype = _DTYPES.get(port.type[len("tensor(") : -1])
        if dtype is None:
            return
        if not all(isinstance(size, int) for size in port.shape[1:]):
            return  # zeros of some size may not fit the others
        feeds[port.name] = np.zeros([size if isinstance(size, int) else 1 for size in port.shape], dtype)
    session.run(None, feeds)


_DTYPES = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "int8": np.int8, "uint8": np.uint8,
    "int16": np.int16, "uint16": np.uint16, "int32": np.int32, "int64": np.int64, "bool": np.bool_, "string": object,
}  # fmt: skip
