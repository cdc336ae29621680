"""Writes .tflite files operator by operator, for what the writer of graphs has no operator for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

Options = tuple[str, dict[str, Any]]


@dataclass
class Subgraph:
    """Tensors and operators; every method returns the index of what it made."""

    maker: Maker
    tensors: list[tuple[Any, ...]] = field(default_factory=list)
    operators: list[tuple[str, list[int], list[int], Options | None]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    packed: set[int] = field(default_factory=set)
    """Tensors of int4."""

    def tensor(self, shape: Sequence[int], dtype: Any = np.float32, scale: float | Sequence[float] | None = None,
               zero_point: int = 0, data: np.ndarray | None = None) -> int:  # fmt: skip
        self.tensors.append((tuple(shape), np.dtype(dtype), scale, zero_point, data))
        return len(self.tensors) - 1

    def input(self, shape: Sequence[int], dtype: Any = np.float32, **quantization: Any) -> int:
        self.inputs.append(self.tensor(shape, dtype, **quantization))
        return self.inputs[-1]

    def constant(self, values: Any, dtype: Any = np.float32, **quantization: Any) -> int:
        data = np.asarray(values, dtype)
        return self.tensor(data.shape, dtype, data=data, **quantization)

    def int4(self, values: Any, **quantization: Any) -> int:
        """A constant of int4, two to a byte, the first in its lower half."""
        data = np.asarray(values, np.int8).reshape(-1)
        pairs = np.pad(data, (0, data.size % 2)).view(np.uint8).reshape(-1, 2) & 15
        made = self.tensor(np.shape(values), np.int8, data=pairs[:, 0] | pairs[:, 1] << 4, **quantization)
        self.packed.add(made)
        return made

    def op(self, code: str, inputs: Sequence[int], shape: Sequence[int], dtype: Any = np.float32,
           options: Options | None = None, **quantization: Any) -> int:  # fmt: skip
        """An operator of one result."""
        made = self.tensor(shape, dtype, **quantization)
        self.operators.append((code, list(inputs), [made], options))
        return made

    def ops(self, code: str, inputs: Sequence[int], shapes: Sequence[Sequence[int]], dtypes: Sequence[Any],
            options: Options) -> list[int]:  # fmt: skip
        """An operator of several results."""
        made = [self.tensor(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        self.operators.append((code, list(inputs), made, options))
        return made


class Maker:
    """A file of subgraphs; the first one is the model."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 12)
        self.subgraphs: list[Subgraph] = []
        self.buffers = [self._buffer(None)]
        self.codes: list[str] = []

    def subgraph(self) -> Subgraph:
        self.subgraphs.append(Subgraph(self))
        return self.subgraphs[-1]

    def finish(self) -> bytes:
        b = self.builder
        subgraphs = self._vector([self._subgraph(graph) for graph in self.subgraphs])
        codes = []
        for code in self.codes:
            number = getattr(tflite.BuiltinOperator, code)
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
            tflite.OperatorCodeAddBuiltinCode(b, number)
            tflite.OperatorCodeAddVersion(b, {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 5, "SPACE_TO_BATCH_ND": 2,
                                              "BATCH_TO_SPACE_ND": 2}.get(code, 1))  # fmt: skip
            codes.append(tflite.OperatorCodeEnd(b))
        code_vector, buffers = self._vector(codes), self._vector(self.buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _subgraph(self, graph: Subgraph) -> int:
        b = self.builder
        tensors = self._vector(
            [self._tensor(number, *tensor, number in graph.packed) for number, tensor in enumerate(graph.tensors)]
        )
        operators = self._vector([self._operator(*operator) for operator in graph.operators])
        inputs, outputs = (b.CreateNumpyVector(np.array(part, np.int32)) for part in (graph.inputs, graph.outputs))
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, operators)
        return tflite.SubGraphEnd(b)

    def _tensor(self, number: int, shape: tuple[int, ...], dtype: np.dtype,
                scale: float | Sequence[float] | None, zero_point: int,
                data: np.ndarray | None, is_packed: bool) -> int:  # fmt: skip
        b, buffer, quantization = self.builder, 0, None
        if data is not None:
            self.buffers.append(self._buffer(data))
            buffer = len(self.buffers) - 1
        name, size = b.CreateString(f"t{number}"), b.CreateNumpyVector(np.array(shape, np.int32))
        if scale is not None:
            several = np.atleast_1d(np.array(scale, np.float32))
            scales = b.CreateNumpyVector(several)
            zeros = b.CreateNumpyVector(np.full(several.size, zero_point, np.int64))
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scales)
            tflite.QuantizationParametersAddZeroPoint(b, zeros)
            if several.size > 1:  # one for each output
                tflite.QuantizationParametersAddQuantizedDimension(b, 3 if shape[0] == 1 else 0)
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddName(b, name)
        tflite.TensorAddShape(b, size)
        tflite.TensorAddType(b, getattr(tflite.TensorType, "INT4" if is_packed else dtype.name.upper()))
        tflite.TensorAddBuffer(b, buffer)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        return tflite.TensorEnd(b)

    def _operator(self, code: str, inputs: list[int], outputs: list[int], options: Options | None) -> int:
        b = self.builder
        if code not in self.codes:
            self.codes.append(code)
        in_vector, out_vector = (b.CreateNumpyVector(np.array(part, np.int32)) for part in (inputs, outputs))
        table = None
        if options is not None:
            getattr(tflite, f"{options[0]}Start")(b)
            for name, value in options[1].items():
                getattr(tflite, f"{options[0]}Add{name}")(b, value)
            table = getattr(tflite, f"{options[0]}End")(b)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, self.codes.index(code))
        tflite.OperatorAddInputs(b, in_vector)
        tflite.OperatorAddOutputs(b, out_vector)
        if table is not None and options is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, options[0]))
            tflite.OperatorAddBuiltinOptions(b, table)
        return tflite.OperatorEnd(b)

    def _buffer(self, data: np.ndarray | None) -> int:
        vector = None if data is None else self.builder.CreateByteVector(data.tobytes())
        tflite.BufferStart(self.builder)
        if vector is not None:
            tflite.BufferAddData(self.builder, vector)
        return tflite.BufferEnd(self.builder)

    def _vector(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()
