"""The place in the graph where an operator is imported: its operands' types and constants, and the way to add nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NoReturn

import numpy as np

from midge.errors import ModelError
from midge.ir.graph import GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ir.verify import verify_type
from midge.load.tflite import guards
from midge.load.tflite.chain import Chain
from midge.load.tflite.file import CONSTANT_DTYPES, RawModel, RawOperator, RawTensor
from midge.load.tflite.inlined import Inlined
from midge.load.tflite.variables import Variables
from midge.ops.base import Activation, Op, Rounding
from midge.ops.reshape import Reshape

Numerics = Literal["litert", "tflm"]

_DTYPES = {
    "FLOAT32": DType.FLOAT32, "INT8": DType.INT8, "UINT8": DType.UINT8, "INT16": DType.INT16, "INT32": DType.INT32,
    "INT64": DType.INT64, "BOOL": DType.BOOL,
}  # fmt: skip
_ACTIVATIONS = {0: Activation.NONE, 1: Activation.RELU, 2: Activation.RELU_N1_TO_1, 3: Activation.RELU6}
_ACTIVATION_NAMES = {4: "tanh", 5: "sign"}
_MAX_FOLDED_BYTES = 1 << 24


class UnsupportedLayer(Exception):
    """The operator is valid, but has no import; collected over the whole model."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Importer:
    """The state of one import: the graph so far, and what is known of each tensor."""

    def __init__(self, raw: RawModel, name: str, numerics: Numerics,
                 step: Callable[[Importer, RawOperator], list[str]]) -> None:  # fmt: skip
        self._tensors = list(raw.tensors)  # those of subgraphs follow when they are put in
        self.raw = replace(raw, tensors=self._tensors)
        self.builder = GraphBuilder(name)
        self.fully_connected_rounding = Rounding.DOUBLE if numerics == "tflm" else Rounding.SINGLE
        self.variables = Variables()
        self.inlined = Inlined(len(raw.operators))
        self._step = step
        self._names: dict[int, str] = {}
        self._constants: dict[int, np.ndarray] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._spoiled: set[int] = set()
        self._results = {index for operator in raw.operators for index in operator.outputs}

    def add_input(self, index: int) -> None:
        """The next input of the graph."""
        if index in self._names:
            raise ModelError(self.raw.file, f"tensor {index} as an input twice", "each input once",
                             "Export the model again")  # fmt: skip
        self.builder.inputs.append(self._add(index, None))

    def step(self, operator: RawOperator) -> list[str]:
        """Import one operator; returns why it is unsupported, as a list of at most one."""
        return self._step(self, operator)

    def add_tensor(self, tensor: RawTensor) -> int:
        """Take over a tensor of a subgraph; returns its index."""
        index = len(self._tensors)
        self._tensors.append(replace(tensor, index=index))
        if tensor.data is None:
            self._results.add(index)
        return index

    def same_kind(self, tensor: RawTensor, index: int) -> bool:
        """Whether a tensor of the file has the element type and quantisation of another one."""
        other = self._tensors[index]
        return tensor.dtype == other.dtype and self._quantization(tensor) == self._quantization(other)

    def add_held(self, index: int) -> None:
        """A tensor that a state holds when an inference begins; `add_states` makes the state."""
        self._add(index, None)

    def alias(self, index: int, other: int) -> None:
        """Let a tensor be another one of the same type."""
        if self.type(index) != self.type(other):
            raise UnsupportedLayer("a variable that is read as another type than it was assigned")
        if self.is_spoiled(other):
            self.spoil((index,))
        else:
            self._names[index] = self.value(other)

    def value(self, index: int) -> str:
        """The name of a tensor's value; constants are added when first used."""
        if index not in self._names:
            self._add(index, self.constant(index))
        return self._names[index]

    def read_too_early(self, operator: RawOperator) -> int | None:
        """An operand that is no input, no constant and not yet made; None where all is well."""
        for index in operator.inputs:
            made = index in self._names or index in self._spoiled or index in self.variables.handles
            made = made or (index != -1 and self.raw.tensors[index].is_variable)
            if index != -1 and not made and self.constant(index) is None:
                return index
        return None

    def _add(self, index: int, data: np.ndarray | None) -> str:
        tensor = self.raw.tensors[index]
        name = self.builder.unique(tensor.name or f"tensor_{index}")
        type_ = self.type(index)
        verify_type(type_, self.where_tensor(index))
        self._names[index] = self.builder.value(name, type_, data)
        return name

    def new_constant(self, index: int, type_: TensorType, data: np.ndarray) -> str:
        """A constant derived from a tensor; returns its name."""
        return self.builder.value(self.builder.unique(self.raw.tensors[index].name or f"tensor_{index}"), type_, data)

    def where_tensor(self, index: int) -> str:
        return f"{self.raw.file}: tensor {index} {_short(self.raw.tensors[index].name)!r}"

    def type(self, index: int) -> TensorType:
        """The Midge type of a tensor. Raises UnsupportedLayer for element types that Midge does not have."""
        tensor = self.raw.tensors[index]
        if tensor.dtype not in _DTYPES:
            raise UnsupportedLayer(f"elements of type {tensor.dtype.lower()}")
        shape = self._shapes.get(index, tensor.shape)
        return TensorType(_DTYPES[tensor.dtype], shape, self._quantization(tensor))

    def _quantization(self, tensor: RawTensor) -> Quantization | None:
        raw = tensor.quantization
        # The quantisation of a bias follows from input and weights.
        is_bias = tensor.dtype == "INT32" and tensor.data is not None
        if raw is None or is_bias or tensor.dtype in ("FLOAT32", "BOOL", "INT64"):
            return None
        if len(raw.scales) == 1:
            return Quantization(raw.scales, raw.zero_points, None)
        return Quantization(raw.scales, raw.zero_points, raw.axis)

    def constant(self, index: int) -> np.ndarray | None:
        """The values of a constant, from the file or folded; None for other tensors."""
        if index in self._constants:
            return self._constants[index]
        tensor = self.raw.tensors[index]
        values = self.raw.constant(index)
        if values is None and 0 in tensor.shape and not tensor.is_variable and tensor.dtype in CONSTANT_DTYPES:
            values = None if index in self._results or index in self.raw.inputs else np.zeros(
                tensor.shape, CONSTANT_DTYPES[tensor.dtype])  # fmt: skip
        if values is not None:
            self._constants[index] = values
        return self._constants.get(index)

    def reshaped(self, index: int, shape: tuple[int, ...]) -> str:
        """A tensor, or constant, in another shape; returns the value's name."""
        name = self.value(index)
        value = self.builder.values[name]
        type_ = TensorType(value.type.dtype, shape, value.type.quantization)
        if value.data is not None:
            return self.new_constant(index, type_, value.data.reshape(shape))
        made = self.builder.value(self.builder.unique(f"{name}_reshaped"), type_)
        self.builder.node(Reshape(shape), [name], [made], name=f"reshape_{made}")
        return made

    def fold(self, index: int, array: np.ndarray) -> None:
        """Record a result that is known at import."""
        self._constants[index] = array
        self._shapes[index] = array.shape

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        self._shapes[index] = shape

    def spoil(self, indices: tuple[int, ...]) -> None:
        """Mark tensors that nothing makes because their operator has no import."""
        self._spoiled.update(indices)

    def is_spoiled(self, index: int) -> bool:
        return index in self._spoiled

    def reads_spoiled(self, operator: RawOperator) -> bool:
        """True where an operand comes from an operator without import, so that even its shape may be wrong."""
        return not self._spoiled.isdisjoint(operator.inputs)


def _short(name: str, length: int = 48) -> str:
    return name if len(name) <= length else f"…{name[-length:]}"


class Site:
    """One operator of the file, as its row in the table sees it."""

    def __init__(self, importer: Importer, operator: RawOperator) -> None:
        self.importer = importer
        self.operator = operator

    @property
    def title(self) -> str:
        """`CONV_2D (layer 3, 'name of the result')`."""
        outputs = self.operator.outputs
        label = repr(_short(self.importer.raw.tensors[outputs[0]].name)) if outputs else "no result"
        return f"{self.operator.code} (layer {self.operator.index}, {label})"

    @property
    def dtype_note(self) -> str:
        """` on int8`: the element type of the first operand that is no constant, else of the first result."""
        tensors = [self.importer.raw.tensors[index] for index in self.operator.inputs if index != -1]
        tensors += [self.importer.raw.tensors[index] for index in self.operator.outputs]
        used = [tensor for tensor in tensors if tensor.data is None]
        return f" on {used[0].dtype.lower()}" if used else ""

    @property
    def where(self) -> str:
        return f"{self.importer.raw.file}: {self.title}"

    def refuse_strange_tensors(self, *, with_state: bool) -> None:
        """Guards for every operator: sparse tensors have no import, variables where the operator has a state only."""
        for index in (*self.operator.inputs, *self.operator.outputs):
            if index == -1:
                continue
            tensor = self.importer.raw.tensors[index]
            if tensor.is_sparse:
                raise UnsupportedLayer("sparse weights")
            if tensor.is_variable and not with_state:
                raise UnsupportedLayer("a variable that lives from one inference to the next")

    def unsupported(self, reason: str) -> NoReturn:
        raise UnsupportedLayer(reason)

    def broken(self, found: str, expected: str, cure: str = "Export the model again") -> NoReturn:
        raise ModelError(self.where, found, expected, cure)

    def operand(self, position: int) -> int | None:
        """The tensor index of an operand; None where it is left out."""
        if position >= len(self.operator.inputs) or self.operator.inputs[position] == -1:
            return None
        return self.operator.inputs[position]

    def required(self, position: int) -> int:
        index = self.operand(position)
        if index is None:
            self.broken(f"no operand {position}", "one")
        return index

    def result(self) -> int:
        if len(self.operator.outputs) != 1:
            self.broken(f"{len(self.operator.outputs)} results", "one")
        return self.operator.outputs[0]

    def raw(self, position: int) -> RawTensor:
        return self.importer.raw.tensors[self.required(position)]

    def type(self, position: int) -> TensorType:
        return self.importer.type(self.required(position))

    def result_type(self) -> TensorType:
        return self.importer.type(self.result())

    def constant(self, position: int) -> np.ndarray | None:
        index = self.operand(position)
        return None if index is None else self.importer.constant(index)

    def known(self, position: int, what: str) -> np.ndarray:
        """A constant operand. Unsupported where it is computed at run time."""
        self.required(position)
        array = self.constant(position)
        if array is None:
            self.unsupported(f"{what} computed at run time")
        return array

    def options(self, title: str, *fields: str) -> tuple[Any, ...]:
        """The fields of the builtin options. Broken where the file has none."""
        values = self.operator.options(self.where, title, *fields)
        if values is None:
            self.broken("no options", title)
        return values

    def activation(self, code: int) -> Activation:
        if code not in _ACTIVATIONS:
            self.unsupported(f"a fused {_ACTIVATION_NAMES.get(code, f'activation {code}')}")
        return _ACTIVATIONS[code]

    def require_dtypes(self, *indices: int, int16: bool = False) -> None:
        """Guard: all these tensors are float32, or all are int8 with a quantisation, or (`int16`) all of them int16."""
        guards.require_dtypes(self, indices, int16)

    def require_plain(self, *indices: int) -> None:
        """Guard: these tensors hold numbers that an operator takes as they are, whatever they stand for."""
        for index in indices:
            if self.importer.type(index).dtype in (DType.INT16, DType.UINT8):
                self.unsupported("")

    def require_batch_1(self, type_: TensorType) -> None:
        if type_.shape and type_.shape[0] != 1:
            self.unsupported(f"a batch of {type_.shape[0]}")

    def with_operands(self, operands: list[int]) -> Site:
        """The same operator with other operands."""
        return Site(self.importer, replace(self.operator, inputs=tuple(operands)))

    def emit_with(self, op: Op, operand: int, type_: TensorType, data: np.ndarray, shape: tuple[int, ...],
                  result: int) -> None:  # fmt: skip
        """Add a node of an operand (a tensor index) and a constant that the file does not have."""
        table = self.importer.new_constant(operand, type_, data)
        self._emit_names(op, [operand], lambda: [self.importer.value(operand), table], shape, result)

    def emit_named(self, op: Op, names: Sequence[str | None], shape: tuple[int, ...]) -> None:
        """Add a node of values of the graph."""
        self._emit_names(op, [], lambda: names, shape, self.result())

    def _emit_names(self, op: Op, operands: list[int], names: Callable[[], Sequence[str | None]],
                    shape: tuple[int, ...], result: int) -> None:  # fmt: skip
        self._settle_shape(shape, result)
        verify_type(self.importer.type(result), self.importer.where_tensor(result))
        if any(self.importer.is_spoiled(index) for index in operands or self.operator.inputs if index != -1):
            self.importer.spoil((result,))
            return
        found = names()
        types = [None if name is None else self.importer.builder.values[name].type for name in found]
        op.check(types, [self.importer.type(result)])
        self._add(op, list(found), result)

    def _add(self, op: Op, names: Sequence[str | None], result: int) -> None:
        number = self.operator.index
        label = f"{op.name}_{number}"
        if len(self.operator.outputs) > 1:
            label += f"_{self.operator.outputs.index(result)}"
        self.importer.builder.node(op, tuple(names), [self.importer.value(result)], name=label)

    def emit(self, op: Op, positions: list[int | None], shape: tuple[int, ...], result: int | None = None) -> None:
        """Add the node, or its result where all operands are constants. `positions` are tensor indices.

        `result` is the tensor that it makes, for operators with several.
        """
        result = self.result() if result is None else result
        self._settle_shape(shape, result)
        types = [None if index is None else self.importer.type(index) for index in positions]
        for index, type_ in zip(positions, types, strict=True):
            if index is not None and type_ is not None:
                verify_type(type_, self.importer.where_tensor(index))
        y = self.importer.type(result)
        verify_type(y, self.importer.where_tensor(result))
        op.check(types, [y])
        arrays = [None if index is None else self.importer.constant(index) for index in positions]
        known = all(index is None or array is not None for index, array in zip(positions, arrays, strict=True))
        if known and y.bytes <= _MAX_FOLDED_BYTES:
            (array,) = op.evaluate(arrays, types, [y])
            self.importer.fold(result, array)
            return
        if any(index is not None and self.importer.is_spoiled(index) for index in positions):
            self.importer.spoil((result,))
            return
        self._add(op, [None if index is None else self.importer.value(index) for index in positions], result)

    def emit_stateful(self, op: Op, operands: Sequence[int | None], variables: Sequence[int], shape: tuple[int, ...]
                      ) -> None:  # fmt: skip
        """Add a node that reads operands and then what its variables hold, and makes its result and their next values.

        Variables are zero after a reset.
        """
        importer, builder = self.importer, self.importer.builder
        self._settle_shape(shape, self.result())
        types = [None if index is None else importer.type(index) for index in (*operands, *variables)]
        held = [importer.type(index) for index in variables]
        op.check(types, [importer.type(self.result()), *held])
        if importer.reads_spoiled(self.operator):
            importer.spoil(self.operator.outputs)
            return
        names = [None if index is None else importer.value(index) for index in operands]
        results = [importer.value(self.result())]
        for index, type_ in zip(variables, held, strict=True):
            importer.add_held(index)
            name = importer.value(index)
            names.append(name)
            results.append(builder.value(builder.unique(f"{name}_next"), type_))
            builder.state(name, results[-1], np.full(type_.shape, type_.zero_point, type_.dtype.numpy))
        builder.node(op, tuple(names), results, name=f"{op.name}_{self.operator.index}")

    def emit_chain(self, steps: Sequence[tuple[Op, TensorType, tuple[str | int | None, ...]]], last: Op,
                   shape: tuple[int, ...]) -> None:  # fmt: skip
        """Add nodes one behind the other: each reads the one before and further operands (tensor indices or names)."""
        self._settle_shape(shape, self.result())
        if any(index != -1 and self.importer.is_spoiled(index) for index in self.operator.inputs):
            self.importer.spoil(self.operator.outputs)
            return
        builder, name = self.importer.builder, self.importer.value(self.required(0))
        label = f"{self.operator.code.lower()}_{self.operator.index}"
        for number, (op, type_, others) in enumerate(steps):
            made = builder.value(builder.unique(f"{label}_{number}"), type_)
            names = [self.importer.value(other) if isinstance(other, int) else other for other in others]
            builder.node(op, [name, *names], [made], name=f"{op.name}_{self.operator.index}_{number}")
            name = made
        builder.node(last, [name], [self.importer.value(self.result())], name=f"{last.name}_{self.operator.index}")

    def chain(self) -> Chain:
        """Several nodes in place of this operator."""
        return Chain(self)

    def fold(self, array: np.ndarray) -> None:
        """Make the result a constant."""
        self.importer.fold(self.result(), array)

    def _settle_shape(self, shape: tuple[int, ...], result: int) -> None:
        """Take the inferred shape of a result; the file's must agree unless it is open."""
        tensor = self.importer.raw.tensors[result]
        if shape != tensor.shape and not tensor.dynamic:
            self.broken(f"a result of shape {list(tensor.shape)}", f"{list(shape)}")
        self.importer.set_shape(result, shape)
