"""Damage to model files: bytes, and fields through the format's schema. All of it follows from one seeded generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from fuzz_archives import damaged_h5, damaged_json, damaged_member

_WORDS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00",
          b"\x00\x00\x01\x00")  # fmt: skip
_NUMBERS = (-(2**31), -1000, -2, -1, 0, 1, 2, 3, 7, 255, 65536, 2**31 - 1)
_LENGTHS = (*_NUMBERS, 2**40, 2**63 - 1, -(2**63))
_FLOATS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-45, 1e38)
_LARGEST_SMALL = 64
"""Numbers up to here, where they lie on a word, are taken for lengths and counts."""

Mutation = Callable[[bytes, Random], bytes]


def mutate(content: bytes, suffix: str, rng: Random) -> tuple[str, bytes]:
    """One kind of damage, by name, and the damaged file."""
    kinds = BYTES | _OF_FORMAT[suffix]
    weights = [1 if name in BYTES else 4 for name in kinds]
    name = rng.choices(list(kinds), weights)[0]
    return name, kinds[name](content, rng)


def _flip(content: bytes, rng: Random) -> bytes:
    """Bits of a few bytes."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _word(content: bytes, rng: Random) -> bytes:
    """An extreme number in place of a word."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(max(len(damaged) - 4, 1))
        damaged[place : place + 4] = rng.choice(_WORDS)
    return bytes(damaged)


def _length(content: bytes, rng: Random) -> bytes:
    """Another length: a word that holds a small number, as lengths and counts do."""
    words = [k for k in range(0, len(content) - 4, 4)
             if 0 < int.from_bytes(content[k : k + 4], "little") <= _LARGEST_SMALL]  # fmt: skip
    if not words:
        return _flip(content, rng)
    place = rng.choice(words)
    number = rng.choice((0, 1, 2, 255, 65535, 2**24, 2**31 - 1, 2**32 - 1))
    return content[:place] + number.to_bytes(4, "little") + content[place + 4 :]


def _truncate(content: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _splice(content: bytes, rng: Random) -> bytes:
    """A block cut out, doubled, or copied over another one."""
    first, count = rng.randrange(len(content)), rng.choice((1, 4, 16, 64, 1024))
    block, place = content[first : first + count], rng.randrange(len(content))
    return rng.choice((
        content[:first] + content[first + count :],
        content[:place] + block + content[place:],
        content[:place] + block + content[place + len(block) :],
    ))  # fmt: skip


BYTES: dict[str, Mutation] = {"flip": _flip, "word": _word, "length": _length, "truncate": _truncate, "splice": _splice}


def _bytes(content: bytes, rng: Random) -> bytes:
    """Any damage to bytes."""
    return rng.choice(list(BYTES.values()))(content, rng)


def _onnx_field(content: bytes, rng: Random) -> bytes:
    """Fields of an .onnx file: any number, text or list, wherever it is."""
    import onnx

    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _edit_message(_some_message(model, rng), rng)
    return model.SerializeToString()


def _some_message(model: Any, rng: Random) -> Any:
    """A part of the file: an operator, an attribute, a constant, a port, a dimension, an opset."""
    graph = model.graph
    groups = [
        graph.node, [attribute for node in graph.node for attribute in node.attribute], graph.initializer,
        [*graph.input, *graph.output, *graph.value_info],
        [info.type.tensor_type for info in (*graph.input, *graph.output)],
        [dim for info in graph.input for dim in info.type.tensor_type.shape.dim], model.opset_import,
    ]  # fmt: skip
    return rng.choice(rng.choice([group for group in groups if len(group)]))


def _edit_message(message: Any, rng: Random) -> None:
    """Change, remove or double one field that is set."""
    fields = [(descriptor, value) for descriptor, value in message.ListFields() if descriptor.message_type is None]
    if not fields:
        return
    descriptor, value = rng.choice(fields)
    name = descriptor.name
    if rng.random() < 0.15:
        message.ClearField(name)
    elif isinstance(value, str | bytes | bool | int | float):
        setattr(message, name, _other(value, rng, descriptor))
    else:
        _edit_list(value, rng, lambda one: _other(one, rng, descriptor))


def _other(value: Any, rng: Random, descriptor: Any = None) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        if descriptor is not None and descriptor.enum_type is not None:
            return rng.choice([one.number for one in descriptor.enum_type.values])
        return rng.choice(_NUMBERS if descriptor is None or descriptor.type == descriptor.TYPE_INT32 else _LENGTHS)
    if isinstance(value, float):
        return rng.choice(_FLOATS)
    if isinstance(value, bytes):
        return _flip(value, rng)[: rng.choice((None, len(value) // 2))] if value else b"\xff"
    return rng.choice(("", value + "x", value[:-1], "Reshape", "Conv", "Concat", "Split", "Loop", "ä" * 100))


def _edit_list(values: Any, rng: Random, other: Callable[[Any], Any]) -> None:
    """Replace, add, remove or exchange elements."""
    what, place = rng.choice(("replace", "add", "remove", "exchange")), rng.randrange(max(len(values), 1))
    if what == "replace" and len(values):
        values[place] = other(values[place])
    elif what == "add" and len(values):
        values.append(values[place])
    elif what == "remove" and len(values):
        del values[place]
    elif len(values):
        last = rng.randrange(len(values))
        values[place], values[last] = values[last], values[place]


def _tflite_field(content: bytes, rng: Random) -> bytes:
    """Fields of a .tflite file: numbers, texts and lists of a tensor, an operator, its options, a buffer."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(len(content))
    try:
        model = schema.ModelT.InitFromPackedBuf(content)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _edit_object(_some_object(model, rng), rng)
        builder.Finish(model.Pack(builder), b"TFL3")
    except Exception:  # a number that its field cannot hold, or a file that is not quite of this schema
        return _flip(content, rng)
    return bytes(builder.Output())


def _some_object(model: Any, rng: Random) -> Any:
    graphs = model.subgraphs
    operators = [one for graph in graphs for one in graph.operators or ()]
    tensors = [one for graph in graphs for one in graph.tensors or ()]
    groups: Sequence[Sequence[Any]] = (
        graphs, operators, [one.builtinOptions for one in operators if one.builtinOptions is not None], tensors,
        [one.quantization for one in tensors if one.quantization is not None], model.operatorCodes, model.buffers,
    )  # fmt: skip
    return rng.choice(rng.choice([group for group in groups if group]))


def _edit_object(part: Any, rng: Random) -> None:
    fields = {name: value for name, value in vars(part).items() if value is not None and not hasattr(value, "Pack")}
    if not fields:
        return
    name = rng.choice(sorted(fields))
    value = fields[name]
    if rng.random() < 0.15 and not isinstance(value, bool | int | float):
        setattr(part, name, None)
    elif isinstance(value, bool | int | float):
        setattr(part, name, _other(value, rng))
    elif isinstance(value, bytes):
        setattr(part, name, _flip(value, rng) if value else b"\xff")
    else:
        values = list(value)
        if not values or not hasattr(values[0], "Pack"):
            _edit_list(values, rng, lambda one: _other(one.item() if hasattr(one, "item") else one, rng))
        else:
            _edit_list(values, rng, lambda one: rng.choice(values))
        setattr(part, name, values)


def _member(content: bytes, rng: Random) -> bytes:
    return damaged_member(content, rng, _bytes)


def _json(content: bytes, rng: Random) -> bytes:
    return damaged_json(content, rng, _other)


def _h5_field(content: bytes, rng: Random) -> bytes:
    return damaged_h5(content, rng, _other)


_OF_FORMAT: dict[str, dict[str, Mutation]] = {
    ".onnx": {"field": _onnx_field}, ".tflite": {"field": _tflite_field}, ".h5": {"field": _h5_field},
    ".keras": {"member": _member, "field": _json}, ".pt2": {"member": _member, "field": _json},
}  # fmt: skip
