"""Reads an .onnx file into plain records, checked: everything after this trusts names, orders and array sizes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midge.errors import ModelError, UnsupportedError
from midge.load.onnx.halves import as_float32, has_halves
from midge.load.onnx.inline import inlined

OLDEST_OPSET = 7
"""Before opset 7, arithmetic broadcast by attributes."""
_MOST_BYTES = 1 << 31

_STANDARD_ELSEWHERE = {("com.microsoft", "QuantizeLinear"), ("com.microsoft", "DequantizeLinear")}
"""Operators that ONNX Runtime's quantiser writes into its own domain where the opset is older than an element type."""


@dataclass(frozen=True, slots=True)
class RawNode:
    """One operator of the file. `inputs` hold "" where left out; `op` has a domain other than ONNX's before it."""

    index: int
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: Any
    """The onnx.NodeProto, for folding constants; None where no file holds one (`midge.load.records`)."""

    @property
    def title(self) -> str:
        """`Conv (layer 3, 'features.0')`."""
        label = self.name or next((name for name in self.outputs if name), "no result")
        return f"{self.op} (layer {self.index}, {_short(label)!r})"


@dataclass(frozen=True, slots=True)
class RawPort:
    """An input or output: NumPy element type (None: no tensor, or a strange one), and shape with None where open."""

    name: str
    dtype: np.dtype | None
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class RawModel:
    """The file: nodes in execution order, constants, ports, opset of the standard domain, inferred static shapes."""

    file: str
    opset: int
    nodes: tuple[RawNode, ...]
    constants: dict[str, np.ndarray]
    inputs: tuple[RawPort, ...]
    outputs: tuple[RawPort, ...]
    shapes: dict[str, tuple[int, ...]]


def read_onnx(path: Path, native: Collection[str] = ()) -> RawModel:
    """The records of a file. Raises ModelError for what is no valid ONNX model, UnsupportedError for old ones.

    Functions of the file are put in place, and so are operators that ONNX defines by others, unless they are `native`.
    """
    import onnx

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnsupportedError(path.name, "a file of more than 2 GB", "a model for a microcontroller")
        model = onnx.load_model(str(path), load_external_data=_has_data_beside(path))
        _check(model)
        model = inlined(model, native)
        model = as_float32(model) if has_halves(model) else model
    except UnsupportedError:
        raise
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    except Exception as error:  # protobuf and the checker raise many kinds
        raise ModelError(path.name, f"no valid ONNX model ({_first_line(error)})",
                         "a file that onnx.checker accepts", "Export the model again") from error  # fmt: skip
    return raw_of(model, path.name)


def _check(model: Any) -> None:
    """onnx.checker, but for its complaint about the order of nodes, which is mended here; and types of operands.

    Private dialects write integers where ONNX has floats only.
    """
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        if "topologically sorted" not in str(error):
            raise
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True)
    except Exception as error:  # shapes that it cannot infer are no fault of the model
        if "has unsupported type" in str(error):
            raise


def raw_of(model: Any, file: str) -> RawModel:
    """The records of an onnx.ModelProto that has been checked."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if model.graph.sparse_initializer:
        raise UnsupportedError(file, "sparse weights", "dense ones", "Export the model without them")
    if opset and opset < OLDEST_OPSET:
        raise UnsupportedError(file, f"opset {opset}", f"{OLDEST_OPSET} or newer",
                               "Bring it up with onnx.version_converter.convert_version")  # fmt: skip
    constants = {tensor.name: _array(tensor, file) for tensor in model.graph.initializer}
    inputs = tuple(_port(info) for info in model.graph.input if info.name not in constants)
    outputs = tuple(_port(info) for info in model.graph.output)
    nodes = _sorted(tuple(_node(index, proto) for index, proto in enumerate(model.graph.node)), inputs, constants, file)
    return RawModel(file, opset, nodes, constants, inputs, outputs, _inferred_shapes(model))


def _has_data_beside(path: Path) -> bool:
    """External data are read only where the file's folder holds more than the file (onnx keeps paths inside it)."""
    return path.parent.is_dir()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _array(tensor: Any, file: str) -> np.ndarray:
    from onnx import numpy_helper

    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:
        raise ModelError(f"{file}: weights {_short(tensor.name)!r}", f"unreadable ({_first_line(error)})",
                         "as many bytes as the shape says", "Export the model again") from error  # fmt: skip


def _port(info: Any) -> RawPort:
    import onnx

    if not info.type.HasField("tensor_type"):
        return RawPort(info.name, None, None)
    tensor = info.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, TypeError):
        dtype = None
    if not tensor.HasField("shape"):
        return RawPort(info.name, dtype, None)
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return RawPort(info.name, dtype, shape)


def _node(index: int, proto: Any) -> RawNode:
    import onnx

    if (proto.domain, proto.op_type) in _STANDARD_ELSEWHERE:
        moved = onnx.NodeProto()
        moved.CopyFrom(proto)
        moved.domain, proto = "", moved
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}:{proto.op_type}"
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return RawNode(index, proto.name, op, tuple(proto.input), tuple(proto.output), attributes, proto)


def _sorted(nodes: tuple[RawNode, ...], inputs: tuple[RawPort, ...], constants: dict[str, np.ndarray], file: str
            ) -> tuple[RawNode, ...]:  # fmt: skip
    """Nodes in execution order; a file may hold them in any. Raises ModelError for cycles and missing tensors."""
    made = {port.name for port in inputs} | set(constants) | {""}
    waiting: list[RawNode] = list(nodes)
    order: list[RawNode] = []
    while waiting:
        later = []
        for node in waiting:
            if made.issuperset(node.inputs):
                made.update(node.outputs)
                order.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            missing = next(name for name in waiting[0].inputs if name not in made)
            raise ModelError(f"{file}: {waiting[0].title}", f"tensor {_short(missing)!r} that nothing makes before it",
                             "layers without cycles", "Export the model again")  # fmt: skip
        waiting = later
    return tuple(order)


def _inferred_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Static shapes by ONNX's own inference, with open batches set to 1: what the importer's must agree with."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for info in fixed.graph.input:
        dims = info.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    del fixed.graph.value_info[:]
    try:
        found = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph.value_info
    except Exception:  # inference is a check, not a need: rows know the shapes of what they make
        return {}
    ports = [_port(info) for info in found]
    return {
        port.name: tuple(size for size in port.shape if size is not None)
        for port in ports
        if port.shape is not None and None not in port.shape
    }


def _short(name: str, length: int = 48) -> str:
    return name if len(name) <= length else f"…{name[-length:]}"
