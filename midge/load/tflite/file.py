"""Reads a .tflite file into plain records, with every offset, index and size checked.

The FlatBuffers readers trust the file; nothing after this module does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tflite
from flatbuffers.number_types import Int32Flags

from midge.errors import ModelError

IDENTIFIER = b"TFL3"
MAX_TENSOR_BYTES = 2**31 - 1
_MAX_RANK = 32
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, KeyError, AttributeError, MemoryError)
"""What the FlatBuffers readers raise when offsets of a damaged file lead astray."""

_ITEM_BYTES = {
    "FLOAT64": 8, "FLOAT32": 4, "FLOAT16": 2, "INT64": 8, "UINT64": 8, "INT32": 4, "UINT32": 4, "INT16": 2,
    "UINT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1, "COMPLEX64": 8, "COMPLEX128": 16,
}  # fmt: skip

CONSTANT_DTYPES = {
    **{name: np.dtype(name.lower()) for name in ("FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64")},
    "BOOL": np.dtype(np.bool_),
}
"""Element types of constants that are read."""


def _names_of(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


_TYPE_NAMES = _names_of(tflite.TensorType)
_OPERATOR_NAMES = _names_of(tflite.BuiltinOperator)
_OPTIONS_NAMES = _names_of(tflite.BuiltinOptions)


@dataclass(frozen=True, slots=True)
class RawQuantization:
    """Scales and zero points as the file has them (as many of both); `axis` counts where there are several."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class RawTensor:
    """A tensor. `dynamic` says that the file leaves a dimension open, `data` holds a constant's bytes."""

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    dynamic: bool
    quantization: RawQuantization | None
    data: np.ndarray | None
    is_variable: bool
    is_sparse: bool
    is_unsigned: bool = False
    """int8 that stands for uint8 in the file (`unsigned`)."""


@dataclass(frozen=True, slots=True, eq=False)
class RawOperator:
    """An operator; -1 among the inputs stands for an operand left out."""

    index: int
    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: str
    options_table: Any
    intermediates: tuple[int, ...] = ()
    """Tensors that only say how values within the operator are quantised."""
    is_spread: bool = False
    """A convolution that stands for three operators (`batches`): block, pads, block and cuts follow its operands."""

    def options(self, where: str, title: str, *fields: str) -> tuple[Any, ...] | None:
        """The fields of the builtin options; None where the file has no options."""
        if self.options_table is None or self.options_type == "NONE":
            return None
        if self.options_type != title:
            raise ModelError(where, f"options of type {self.options_type}", title, "Export the model again")
        return checked(where, lambda: tuple(getattr(self._reader(title), field)() for field in fields))

    def options_vector(self, where: str, title: str, field: str) -> tuple[int, ...] | None:
        """A vector of integers among the builtin options; None where there is none."""
        if self.options(where, title) is None:
            return None
        return checked(where, lambda: _integers(getattr(self._reader(title), f"{field}AsNumpy")()))

    def _reader(self, title: str) -> Any:
        reader = getattr(tflite, title)()
        reader.Init(self.options_table.Bytes, self.options_table.Pos)
        return reader


@dataclass(frozen=True, slots=True, eq=False)
class RawModel:
    """The first subgraph of a model; the others, which operators call by their numbers, in `subgraphs`."""

    file: str
    tensors: Sequence[RawTensor]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: tuple[RawModel, ...] = ()

    def constant(self, index: int) -> np.ndarray | None:
        """The values of a constant; None for other tensors, and for element types that NumPy does not have."""
        tensor = self.tensors[index]
        dtype = CONSTANT_DTYPES.get(tensor.dtype)
        if tensor.is_variable or dtype is None or index in self.inputs or tensor.data is None:
            return None
        data = tensor.data.view(np.uint8).tobytes()
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(tensor.shape)


def checked(where: str, read: Callable[[], Any]) -> Any:
    """The result of `read`; a ModelError where the file's offsets lead outside of it."""
    try:
        return read()
    except ModelError:
        raise
    except _DAMAGE:
        raise ModelError(where, "a damaged file (offsets that point nowhere)", "a complete TensorFlow Lite model",
                         "Copy or export it again") from None  # fmt: skip


def read_tflite(content: bytes, file: str) -> RawModel:
    """Records of a whole file. Raises ModelError for anything malformed."""
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise ModelError(file, f"no TensorFlow Lite model ({_looks_like(content)})",
                         "the identifier TFL3 at byte 4", "Pass a .tflite file")  # fmt: skip
    return checked(file, lambda: _Reader(content, file).read())


def _looks_like(content: bytes) -> str:
    if not content:
        return "the file is empty"
    if len(content) < 8:
        return f"only {len(content)} bytes"
    for start, kind in ((b"\x89PNG", "a PNG image"), (b"PK\x03\x04", "a ZIP archive"), (b"\x89HDF", "an HDF5 file"),
                        (b"\x1f\x8b", "a gzip archive"), (b"\x7fELF", "an ELF program"), (b"\xff\xd8", "a JPEG image"),
                        (b"<", "an HTML or XML page"), (b"version https://git-lfs", "a Git LFS pointer")):  # fmt: skip
        if content.startswith(start):
            return f"it begins like {kind}"
    return f"it begins with {content[:8]!r}"


class _Reader:
    """One pass over a file."""

    def __init__(self, content: bytes, file: str) -> None:
        self.content = content
        self.file = file
        self.model = tflite.Model.GetRootAs(content, 0)

    def read(self) -> RawModel:
        if self.model.Version() != 3:
            raise ModelError(self.file, f"schema version {self.model.Version()}", "version 3", "Export the model again")
        if self._count(self.model.SubgraphsLength()) == 0:
            raise ModelError(self.file, "no subgraph", "at least one", "Export the model again")
        first, *others = (self._subgraph(number) for number in range(self.model.SubgraphsLength()))
        return replace(first, subgraphs=tuple(others))

    def _subgraph(self, number: int) -> RawModel:
        graph = self._table(self.model.Subgraphs(number), f"subgraph {number}")
        tensors = tuple(self._tensor(graph, i) for i in range(self._count(graph.TensorsLength())))
        operators = tuple(self._operator(graph, i, len(tensors)) for i in range(self._count(graph.OperatorsLength())))
        inputs = self._indices(graph.InputsAsNumpy(), len(tensors), f"{self.file}: the graph's inputs")
        outputs = self._indices(graph.OutputsAsNumpy(), len(tensors), f"{self.file}: the graph's outputs")
        return RawModel(self.file, tensors, operators, inputs, outputs)

    def _count(self, length: int) -> int:
        """A vector's length, if the file is large enough to hold it."""
        if length < 0 or length * 4 > len(self.content):
            raise ModelError(self.file, f"a list of {length} entries in {len(self.content)} bytes", "a complete file",
                             "Copy or export it again")  # fmt: skip
        return length

    def _table(self, table: Any, what: str) -> Any:
        if table is None:
            raise ModelError(self.file, f"no {what}", "a complete file", "Copy or export it again")
        return table

    def _indices(self, vector: Any, limit: int, where: str, *, optional: bool = False) -> tuple[int, ...]:
        indices = _integers(vector)
        for index in indices:
            if not (0 <= index < limit or (optional and index == -1)):
                raise ModelError(where, f"tensor {index}", f"0 to {limit - 1}", "Copy or export the model again")
        return indices

    def _tensor(self, graph: Any, index: int) -> RawTensor:
        tensor = self._table(graph.Tensors(index), f"tensor {index}")
        raw_name = tensor.Name()
        name = (raw_name or b"").decode("utf-8", "replace")
        where = f"{self.file}: tensor {index} {name!r}"
        dtype = _TYPE_NAMES.get(tensor.Type())
        if dtype is None:
            raise ModelError(
                where, f"element type {tensor.Type()}", "one of TensorFlow Lite's", "Export the model again"
            )
        dims = _integers(tensor.ShapeAsNumpy())
        signature = _integers(tensor.ShapeSignatureAsNumpy())
        shape = self._shape(dims, dtype, where)
        data = self._buffer(tensor.Buffer(), where)
        if dtype == "INT4" and data is not None:
            dtype, data = "INT8", self._unpacked(data, shape, where)
        return RawTensor(
            index, name, dtype, shape, -1 in signature or -1 in dims, self._quantization(tensor.Quantization(), where),
            self._typed(data, dtype, shape, where), bool(tensor.IsVariable()), tensor.Sparsity() is not None,
        )  # fmt: skip

    def _shape(self, dims: tuple[int, ...], dtype: str, where: str) -> tuple[int, ...]:
        """The dimensions, an open one (-1) taken as 1."""
        if len(dims) > _MAX_RANK or any(size < -1 for size in dims):
            raise ModelError(where, f"shape {_short(dims)}", "positive dimensions", "Export the model again")
        shape = tuple(1 if size == -1 else size for size in dims)
        if math.prod(shape) * _ITEM_BYTES.get(dtype, 1) > MAX_TENSOR_BYTES:
            raise ModelError(where, f"shape {list(shape)}, more than 2 GiB", "a tensor that fits a microcontroller",
                             "Export the model again")  # fmt: skip
        return shape

    def _buffer(self, index: int, where: str) -> np.ndarray | None:
        """The bytes of a buffer; None where it is empty."""
        if not 0 <= index < self._count(self.model.BuffersLength()):
            raise ModelError(where, f"buffer {index}", f"0 to {self.model.BuffersLength() - 1}",
                             "Copy or export the model again")  # fmt: skip
        buffer = self._table(self.model.Buffers(index), f"buffer {index}")
        offset, size = buffer.Offset(), buffer.Size()
        if offset > 1:  # large models keep their data behind the FlatBuffer
            if offset + size > len(self.content):
                raise ModelError(where, f"data at bytes {offset} to {offset + size}",
                                 f"a file of more than {len(self.content)} bytes", "Copy it again")  # fmt: skip
            return np.frombuffer(self.content, np.uint8, size, offset) if size else None
        data = buffer.DataAsNumpy()
        return data if isinstance(data, np.ndarray) and data.size else None

    def _typed(self, data: np.ndarray | None, dtype: str, shape: tuple[int, ...], where: str) -> np.ndarray | None:
        """The data, if it is as long as type and shape say (types of unknown width are passed through)."""
        if data is None or dtype not in _ITEM_BYTES:
            return data
        expected = math.prod(shape) * _ITEM_BYTES[dtype]
        if data.size != expected:
            raise ModelError(where, f"{data.size} bytes of data", f"{expected} for {dtype.lower()}{list(shape)}",
                             "Copy or export the model again")  # fmt: skip
        return data

    def _unpacked(self, data: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
        """int4 as bytes: two lie in one, the first in its lower half."""
        count = math.prod(shape)
        if data.size != (count + 1) // 2:
            raise ModelError(where, f"{data.size} bytes of data", f"{(count + 1) // 2} for int4{list(shape)}",
                             "Copy or export the model again")  # fmt: skip
        halves = np.stack([data << 4, data & 0xF0], axis=1).reshape(-1)[:count]
        return (halves.view(np.int8) >> 4).view(np.uint8)

    def _quantization(self, parameters: Any, where: str) -> RawQuantization | None:
        if parameters is None or self._count(parameters.ScaleLength()) == 0:
            return None
        scales = tuple(float(scale) for scale in parameters.ScaleAsNumpy())
        zero_points = _integers(parameters.ZeroPointAsNumpy()) or (0,) * len(scales)
        if len(zero_points) == 1:
            zero_points *= len(scales)
        if len(zero_points) != len(scales):
            raise ModelError(where, f"{len(scales)} scales and {len(zero_points)} zero points", "as many of both",
                             "Export the model again")  # fmt: skip
        return RawQuantization(scales, zero_points, parameters.QuantizedDimension())

    def _operator(self, graph: Any, index: int, tensors: int) -> RawOperator:
        operator = self._table(graph.Operators(index), f"operator {index}")
        where = f"{self.file}: layer {index}"
        code = operator.OpcodeIndex()
        if not 0 <= code < self._count(self.model.OperatorCodesLength()):
            raise ModelError(where, f"operator code {code}", f"0 to {self.model.OperatorCodesLength() - 1}",
                             "Copy or export the model again")  # fmt: skip
        inputs = self._indices(operator.InputsAsNumpy(), tensors, where, optional=True)
        outputs = self._indices(operator.OutputsAsNumpy(), tensors, where)
        options_type = _OPTIONS_NAMES.get(operator.BuiltinOptionsType(), "unknown")
        inner = self._indices(operator.IntermediatesAsNumpy(), tensors, where)
        return RawOperator(index, self._code(code), inputs, outputs, options_type, operator.BuiltinOptions(), inner)

    def _code(self, index: int) -> str:
        """The operator's name; `CUSTOM:name` for custom operators."""
        entry = self._table(self.model.OperatorCodes(index), f"operator code {index}")
        # Old files have only the 8-bit field, new ones both, some only the new one; the larger counts. The package's
        # own accessor of the new field ignores it for small codes.
        table = entry._tab
        place = table.Offset(10)
        code = table.Get(Int32Flags, place + table.Pos) if place else 0
        number = max(code, entry.DeprecatedBuiltinCode())
        if number == tflite.BuiltinOperator.CUSTOM:
            return f"CUSTOM:{(entry.CustomCode() or b'').decode('utf-8', 'replace')}"
        return _OPERATOR_NAMES.get(number, f"operator number {number}")


def _integers(vector: Any) -> tuple[int, ...]:
    """A FlatBuffers vector as Python integers; the readers give 0 for a vector left out."""
    return tuple(int(value) for value in vector) if isinstance(vector, np.ndarray) else ()


def _short(dims: tuple[int, ...]) -> str:
    return str(list(dims)) if len(dims) <= 8 else f"of {len(dims)} dimensions"
