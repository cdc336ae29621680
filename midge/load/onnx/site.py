"""The place where an operator of an .onnx file is imported: its operands, and the ways to add nodes to the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from midge.errors import ModelError
from midge.ir.graph import GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ir.verify import verify_type
from midge.load.onnx.file import RawModel, RawNode
from midge.load.onnx.held import Held, Known, Order, arrangement
from midge.load.onnx.scales import is_unsigned, type_of_scale
from midge.ops.add import Add
from midge.ops.base import Activation, Op, Rounding
from midge.ops.cast import Cast
from midge.ops.dequantize import Dequantize
from midge.ops.map import Function, Map
from midge.ops.mul import Mul
from midge.ops.quantize import Quantize
from midge.ops.rearrange import rearrangement
from midge.ops.reshape import Reshape
from midge.ops.take import Take


class UnsupportedLayer(Exception):
    """The operator is valid, but has no import; collected over the whole model."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """What QuantizeLinear behind an operator makes of its result: the integers that the operator can make itself.

    `names` are the ONNX tensors that those are, `nodes` the operators that are then done.
    """

    quantization: TensorType
    activation: Activation
    names: tuple[str, ...]
    nodes: tuple[int, ...]
    is_unsigned: bool


class Importer:
    """The state of one import: the graph so far, and what is known of each ONNX tensor."""

    def __init__(self, raw: RawModel, name: str, rounding: Rounding) -> None:
        self.raw = raw
        self.builder = GraphBuilder(name)
        self.rounding = rounding
        self.tensors: dict[str, Known | Held] = {name: Known(array) for name, array in raw.constants.items()}
        self.spoiled: set[str] = set()
        """Tensors that nothing makes because an operator has no import."""
        self.sizes: set[str] = set()
        """Of those, the ones that hold only sizes."""
        self.done: set[int] = set()
        self.outputs = {port.name for port in raw.outputs}
        self.consumers: dict[str, list[RawNode]] = {}
        for node in raw.nodes:
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)
        self._placed: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def value(self, name: str, type_: TensorType, data: np.ndarray | None = None) -> str:
        """A new value of the graph, called like the tensor."""
        verify_type(type_, f"{self.raw.file}: tensor {name!r}")
        return self.builder.value(self.builder.unique(name or "tensor"), type_, data)

    def place(self, held: Held, axes: Order, shape: tuple[int, ...] | None = None) -> str:
        """A value whose elements lie in the arrangement of these axes; of that shape, or of `shape`."""
        wanted = held.order.transpose(axes)
        shape = wanted.shape if shape is None else shape
        if held.lies_as(axes) and held.type.shape == shape:
            return held.value
        key = (held.value, shape, wanted.tobytes())
        if key not in self._placed:
            self._placed[key] = self._reordered(held, wanted, shape)
        return self._placed[key]

    def _reordered(self, held: Held, wanted: np.ndarray, shape: tuple[int, ...]) -> str:
        made = self.value(f"{held.value}_rearranged", replace(held.type, shape=shape))
        if wanted.size == held.type.elements and np.array_equal(wanted.reshape(-1), np.arange(wanted.size)):
            self.builder.node(Reshape(shape), [held.value], [made], name=f"reshape_{made}")
            return made
        op = rearrangement(wanted.reshape(shape))
        if op is not None:
            self.builder.node(op, [held.value], [made], name=f"rearrange_{made}")
            return made
        positions = self.value(
            f"{made}_positions", TensorType(DType.INT32, shape), wanted.reshape(shape).astype(np.int32)
        )
        self.builder.node(Take(), [held.value, positions], [made], name=f"take_{made}")
        return made

    def real(self, held: Held) -> Held:
        """The tensor as float32 in the graph too; integers as whole numbers, which are exact up to 2^24."""
        if held.type.dtype.is_float:
            return held
        if held.type.quantization is None:
            return self._cast(held, DType.FLOAT32)
        if not held.is_real:
            return self._numbers(held)
        type_ = TensorType(DType.FLOAT32, held.type.shape)
        key = (held.value, (), b"real")
        if key not in self._placed:
            made = self.value(f"{held.value}_real", type_)
            self.builder.node(Dequantize(), [held.value], [made], name=f"dequantize_{made}")
            self._placed[key] = made
        return Held(self._placed[key], type_, held.order)

    def _numbers(self, held: Held) -> Held:
        """Quantised integers as the numbers that they are: what they stand for, over the scale, and the zero point."""
        assert held.type.quantization is not None
        scale, zero = held.type.quantization.scale, held.zero_point
        found = self.real(replace(held, is_real=True))
        name = found.value
        if scale != 1.0:
            inverse = self._number(f"{name}_rate", 1.0 / scale)
            name = self._made(Map(Function.ROUND), [self._made(Mul(Activation.NONE), [name, inverse], found.type)],
                              found.type)  # fmt: skip
        if zero:
            name = self._made(Add(Activation.NONE), [name, self._number(f"{name}_zero", zero)], found.type)
        return replace(found, value=name, is_whole=True)

    def _number(self, name: str, value: float) -> str:
        return self.value(name, TensorType(DType.FLOAT32, (1,)), np.array([value], np.float32))

    def _made(self, op: Op, operands: Sequence[str], type_: TensorType) -> str:
        made = self.value(f"{operands[0]}_{op.name}", type_)
        self.builder.node(op, tuple(operands), [made], name=f"{op.name}_{made}")
        return made

    def _cast(self, held: Held, dtype: DType) -> Held:
        """The same numbers in another element type, without scales."""
        if held.type.dtype is dtype:
            return held
        if held.type.dtype is DType.INT16:
            raise UnsupportedLayer("int16 without a scale")
        key = (held.value, (), dtype.value.encode())
        if key not in self._placed:
            self._placed[key] = self._made(Cast(), [held.value], TensorType(dtype, held.type.shape))
        type_ = self.builder.values[self._placed[key]].type
        return Held(self._placed[key], type_, held.order, is_whole=dtype.is_float)

    def cast(self, held: Held, dtype: DType) -> Held:
        """Numbers in the element type of the ONNX tensor; what is quantised stays."""
        return held if held.type.quantization is not None else self._cast(held, dtype)

    def requantized(self, held: Held, type_: TensorType) -> Held:
        """The tensor in the integers of another type's quantisation."""
        if (held.type.dtype, held.type.quantization) == (type_.dtype, type_.quantization):
            return held
        wanted = replace(type_, shape=held.type.shape)
        made = self.value(f"{held.value}_quantized", wanted)
        self.builder.node(Quantize(), [held.value], [made], name=f"quantize_{made}")
        return replace(held, value=made, type=wanted)


class Site:
    """One operator of the file, as its row in the table sees it."""

    def __init__(self, importer: Importer, node: RawNode) -> None:
        self.importer = importer
        self.node = node

    @property
    def where(self) -> str:
        return f"{self.importer.raw.file}: {self.node.title}"

    def unsupported(self, reason: str) -> NoReturn:
        raise UnsupportedLayer(reason)

    def broken(self, found: str, expected: str, cure: str = "Export the model again") -> NoReturn:
        raise ModelError(self.where, found, expected, cure)

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def has(self, position: int) -> bool:
        return position < len(self.node.inputs) and self.node.inputs[position] != ""

    def operand(self, position: int) -> Known | Held:
        if not self.has(position):
            self.broken(f"no operand {position}", "one")
        return self.importer.tensors[self.node.inputs[position]]

    def held(self, position: int) -> Held:
        """An operand that depends on the inputs."""
        found = self.operand(position)
        if isinstance(found, Known):
            self.unsupported(f"a constant as operand {position}")
        return found

    def known(self, position: int, what: str) -> np.ndarray:
        """A constant operand. Unsupported where it is computed at run time."""
        return self.constant(position, what).array

    def constant(self, position: int, what: str) -> Known:
        found = self.operand(position)
        if isinstance(found, Held):
            self.unsupported(f"{what} computed at run time")
        return found

    def number(self, position: int, what: str) -> float:
        array = self.known(position, what)
        if array.size != 1:
            self.broken(f"{what} of shape {list(array.shape)}", "one number")
        return float(array.reshape(-1)[0])

    def integers(self, name: str, position: int | None = None) -> tuple[int, ...] | None:
        """Integers from an attribute, or from a constant operand; None where there are neither."""
        if position is not None and self.has(position):
            array = self.known(position, name)
            if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
                self.broken(f"{name} of type {array.dtype}, shape {list(array.shape)}", "a few integers")
            return tuple(int(number) for number in array.reshape(-1))
        value = self.attribute(name)
        if value is None:
            return None
        return (int(value),) if isinstance(value, int) else tuple(int(number) for number in value)

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            self.broken(f"axis {axis}", f"{-rank} to {rank - 1}")
        return axis % rank

    def is_read(self, position: int) -> bool:
        """True where somebody reads a result."""
        name = self.node.outputs[position] if position < len(self.node.outputs) else ""
        return name != "" and (name in self.importer.consumers or name in self.importer.outputs)

    def bind(self, tensor: Known | Held, position: int = 0) -> None:
        """Say what a result is."""
        self.importer.tensors[self.node.outputs[position]] = tensor

    def place(self, held: Held, axes: Order, shape: tuple[int, ...] | None = None) -> str:
        return self.importer.place(held, axes, shape)

    def make(self, op: Op, operands: Sequence[str | None], type_: TensorType) -> str:
        """Add a node; returns its result's name."""
        builder = self.importer.builder
        types = [None if name is None else builder.values[name].type for name in operands]
        op.check(types, [type_])
        made = self.importer.value(self.node.outputs[0], type_)
        builder.node(op, tuple(operands), [made], name=builder_name(op, self.node, len(builder.nodes)))
        return made

    def new_constant(self, label: str, type_: TensorType, data: np.ndarray) -> str:
        return self.importer.value(f"{self.node.name or self.node.outputs[0]}_{label}", type_, data)

    def target(self, *, fuses: bool = True) -> Target | None:
        """What QuantizeLinear makes of the result, through a rectifier where the operator can fuse one."""
        name, activation, nodes = self.node.outputs[0], Activation.NONE, []
        while True:
            readers = self.importer.consumers.get(name, [])
            if not readers or name in self.importer.outputs:
                return None
            if all(reader.op == "QuantizeLinear" for reader in readers):
                break
            found = self._rectifier(readers[0]) if fuses and len(readers) == 1 else None
            if found is None or activation is not Activation.NONE:
                return None
            activation, name = found, readers[0].outputs[0]
            nodes.append(readers[0].index)
        types = [self._quantizes_to(reader) for reader in readers]
        if types[0] is None or any(type_ != types[0] for type_ in types):
            return None
        return Target(types[0][0], activation, tuple(reader.outputs[0] for reader in readers),
                      (*nodes, *(reader.index for reader in readers)), types[0][1])  # fmt: skip

    def _rectifier(self, node: RawNode) -> Activation | None:
        """The activation that a node is; None where it is none that can be fused."""
        if node.op == "Relu":
            return Activation.RELU
        return None if node.op != "Clip" else rectifier_of(clip_limits(Site(self.importer, node)))

    def _quantizes_to(self, node: RawNode) -> tuple[TensorType, bool] | None:
        """The type that a QuantizeLinear makes, and whether it is unsigned; None without a single constant scale."""
        tensors = self.importer.tensors
        scale = tensors.get(node.inputs[1])
        zero = tensors.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        if not isinstance(scale, Known) or isinstance(zero, Held) or scale.array.size != 1:
            return None
        zero_point = None if zero is None else zero.array
        type_ = type_of_scale(scale.array, zero_point, ())
        return None if type_ is None else (type_, is_unsigned(zero_point))

    def finish(self, target: Target | None, held: Held) -> None:
        """Bind a result that was made as integers for `target`, or as it is."""
        if target is None:
            self.bind(held)
            return
        for name in target.names:
            self.importer.tensors[name] = replace(held, is_real=False, is_unsigned=target.is_unsigned)
        self.importer.done.update(target.nodes)

    def held_of(self, value: str, shape: tuple[int, ...], axes: Order) -> Held:
        """A new value as the ONNX tensor of this shape, lying in the arrangement of these axes."""
        return Held(value, self.importer.builder.values[value].type, arrangement(shape, axes))


def builder_name(op: Op, node: RawNode, number: int) -> str:
    """The name of a graph's node: which layer of the file it comes from."""
    return f"{op.name}_{node.index}_{number}"


def clip_limits(site: Site) -> tuple[float, float] | None:
    """Bounds of a Clip, from attributes or constant operands; None where they are computed."""
    limits = []
    for position, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), start=1):
        if site.has(position):
            found = site.operand(position)
            if isinstance(found, Held) or found.array.size != 1:
                return None
            limits.append(float(found.array.reshape(-1)[0]))
        else:
            limits.append(float(site.attribute(name, default)))
    low, high = limits
    # Exporters write "no bound" as the largest float.
    big = float(np.finfo(np.float32).max)
    return (-np.inf if low <= -big else low), (np.inf if high >= big else high)


def rectifier_of(limits: tuple[float, float] | None) -> Activation | None:
    """The fused activation with these bounds."""
    return next((activation for activation in Activation if activation.real_bounds == limits), None)


def quantization_of(type_: TensorType) -> Quantization:
    assert type_.quantization is not None
    return type_.quantization
