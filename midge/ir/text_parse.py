"""Parses the text form of a Graph (`midge.ir.text`)."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import json
import re
import types
import typing
import zlib
from typing import Any

import numpy as np

from midge.errors import ModelError
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ir.verify import verify_type
from midge.ops.base import Op

_TOKEN = re.compile(
    r"""\s*(?:(?P<comment>\#.*)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<value>%[A-Za-z_][A-Za-z0-9_./-]*)"""
    r"""|(?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|nan)(?![A-Za-z_]))|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|(?P<mark>[\[\](),:=@%]))"""
)


class _Word(str):
    """A bare word, as opposed to a quoted string."""

    __slots__ = ()


def parse_graph(text: str) -> Graph:
    """The graph that `print_graph` wrote. Raises ModelError, with the line, for anything else."""
    builder: GraphBuilder | None = None
    for number, line in enumerate(text.splitlines(), 1):
        parser = _Line(line, number)
        if parser.at_end():
            continue
        if builder is None:
            parser.word("graph")
            builder = GraphBuilder(parser.string())
        else:
            _statement(parser, builder)
        parser.end()
    if builder is None:
        raise ModelError("graph text", "no statement", 'a first line `graph "name"`')
    return builder.build()


def _statement(parser: _Line, builder: GraphBuilder) -> None:
    if parser.peek("value") or parser.peek_mark("%"):
        _parse_node(parser, builder)
        return
    keyword = parser.word("input", "state", "constant", "output", "next")
    if keyword == "output":
        builder.outputs.append(parser.value_name())
        while parser.skip(","):
            builder.outputs.append(parser.value_name())
        return
    if keyword == "next":
        _parse_next(parser, builder)
        return
    name, type_ = _typed_value(parser, builder)
    if keyword == "input":
        builder.inputs.append(builder.value(name, type_))
        return
    parser.mark("=")
    if keyword == "state":
        builder.state(builder.value(name, type_), "", _parse_data(parser, type_))
        return
    builder.value(name, type_, _parse_data(parser, type_))


def _parse_next(parser: _Line, builder: GraphBuilder) -> None:
    """What a state holds in the next inference; until this line it is nothing."""
    name = parser.value_name()
    parser.mark("=")
    after = parser.value_name()
    for position, state in enumerate(builder.states):
        if state.before == name:
            builder.states[position] = dataclasses.replace(state, after=after)
            return
    parser.fail(f"a next value of {name!r}", "the name of a state")


def _typed_value(parser: _Line, builder: GraphBuilder) -> tuple[str, TensorType]:
    name = parser.value_name()
    if name in builder.values:
        parser.fail(f"a second value {name!r}", "a new name")
    parser.mark(":")
    type_ = _parse_type(parser)
    verify_type(type_, f"{parser.where}: value {name!r}")
    return name, type_


def _parse_type(parser: _Line) -> TensorType:
    dtypes = {dtype.value: dtype for dtype in DType}
    dtype = dtypes[parser.word(*dtypes)]
    parser.mark("[")
    shape = tuple(parser.integers("]"))
    if not parser.skip_word("q"):
        return TensorType(dtype, shape)
    parser.mark("(")
    if not parser.skip("["):
        scale = float(parser.number())
        parser.mark(",")
        zero_point = parser.integer()
        parser.mark(")")
        return TensorType(dtype, shape, Quantization((scale,), (zero_point,), None))
    scales = tuple(float(number) for number in parser.numbers("]"))
    parser.mark(",")
    parser.mark("[")
    zero_points = tuple(parser.integers("]"))
    parser.mark(",")
    parser.word("axis")
    parser.mark("=")
    axis = parser.integer()
    parser.mark(")")
    return TensorType(dtype, shape, Quantization(scales, zero_points, axis))


def _parse_data(parser: _Line, type_: TensorType) -> np.ndarray:
    if parser.skip("["):
        numbers = parser.numbers("]")
        if len(numbers) != type_.elements:
            parser.fail(f"{len(numbers)} numbers", f"{type_.elements}")
        try:
            if not type_.dtype.is_float and any(isinstance(number, float) for number in numbers):
                raise ValueError
            return np.array(numbers, type_.dtype.numpy).reshape(type_.shape)
        except (OverflowError, ValueError):
            parser.fail("numbers that the type cannot hold", f"{type_.dtype.value} numbers")
    if parser.word("packed", "elided") == "elided":
        parser.fail("a graph printed without its constants", "one printed with elide=False")
    return _unpack(parser, parser.string(), type_)


def _unpack(parser: _Line, packed: str, type_: TensorType) -> np.ndarray:
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(base64.b64decode(packed, validate=True), type_.bytes + 1)
    except (binascii.Error, ValueError, zlib.error):
        parser.fail("packed data that is damaged", "zlib-compressed bytes in base64")
    if len(raw) != type_.bytes:
        parser.fail("packed data of another length", f"{type_.bytes} bytes")
    dtype = type_.dtype.numpy
    return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(type_.shape)


def _parse_node(parser: _Line, builder: GraphBuilder) -> None:
    results = [_typed_value(parser, builder)]
    while parser.skip(","):
        results.append(_typed_value(parser, builder))
    parser.mark("=")
    op_name = parser.word()
    parser.mark("(")
    operands: list[str | None] = []
    while not parser.skip(")"):
        if operands:
            parser.mark(",")
        operands.append(None if parser.skip_word("none") else parser.value_name())
    attributes: dict[str, Any] = {}
    while parser.peek("word"):
        field = parser.word()
        parser.mark("=")
        attributes[field] = parser.literal()
    op = _operator(parser, op_name, attributes)
    name = parser.string() if parser.skip("@") else None
    for result, type_ in results:
        builder.value(result, type_)
    builder.node(op, operands, [result for result, _ in results], name)


def _operator(parser: _Line, name: str, attributes: dict[str, Any]) -> Op:
    from midge.ops import OPERATORS

    if name not in OPERATORS:
        parser.fail(f"the operator {name!r}", f"one of {', '.join(OPERATORS)}")
    operator = OPERATORS[name]
    assert dataclasses.is_dataclass(operator)
    fields = [field.name for field in dataclasses.fields(operator)]
    if set(fields) != set(attributes):
        parser.fail(
            f"{name} with the attributes {', '.join(attributes) or 'none'}", ", ".join(fields) or "no attributes"
        )
    hints = typing.get_type_hints(operator)
    return operator(**{field: _converted(parser, field, hints[field], attributes[field]) for field in fields})


def _converted(parser: _Line, field: str, hint: Any, value: Any) -> Any:
    """A literal as the field's type wants it."""
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float, bool):
        if type(value) is not hint:
            parser.fail(f"{field}={value}", f"a value of type {hint.__name__}")
        return value
    if hint is str:
        if not isinstance(value, str):
            parser.fail(f"{field}={value}", "a string")
        return str(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        members = {str(member.value): member for member in hint}
        if str(value) not in members:
            parser.fail(f"{field}={value}", f"one of {', '.join(members)}")
        return members[str(value)]
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in hint.__args__:
            return None
        return _converted(parser, field, next(arm for arm in hint.__args__ if arm is not type(None)), value)
    return _converted_tuple(parser, field, hint, value)


def _converted_tuple(parser: _Line, field: str, hint: Any, value: Any) -> Any:
    if not isinstance(value, tuple):
        parser.fail(f"{field}={value}", "numbers in parentheses")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        names = [part.name for part in dataclasses.fields(hint)]
        if len(names) != len(value):
            parser.fail(f"{field}={value}", f"({', '.join(names)})")
        return hint(*(_converted(parser, name, hints[name], part) for name, part in zip(names, value, strict=True)))
    arms = typing.get_args(hint)
    if len(arms) == 2 and arms[1] is Ellipsis:
        arms = (arms[0],) * len(value)
    if len(arms) != len(value):
        parser.fail(f"{field} of {len(value)} values", f"{len(arms)}")
    return tuple(_converted(parser, field, arm, part) for arm, part in zip(arms, value, strict=True))


class _Line:
    """The tokens of one line, read from left to right."""

    def __init__(self, line: str, number: int) -> None:
        self.where = f"graph text, line {number}"
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(line.rstrip()):
            match = _TOKEN.match(line, position)
            if match is None or match.lastgroup is None:
                raise ModelError(self.where, f"{line[position:].strip()[:20]!r}", "a statement of the text form")
            if match.lastgroup != "comment":
                self.tokens.append((match.lastgroup, match.group(match.lastgroup)))
            position = match.end()
        self.position = 0

    def fail(self, found: str, expected: str) -> typing.NoReturn:
        raise ModelError(self.where, found, expected)

    def at_end(self) -> bool:
        return self.position == len(self.tokens)

    def end(self) -> None:
        if not self.at_end():
            self.fail(f"{self.tokens[self.position][1]!r} behind the statement", "the end of the line")

    def peek(self, kind: str) -> bool:
        return not self.at_end() and self.tokens[self.position][0] == kind

    def peek_mark(self, mark: str) -> bool:
        return not self.at_end() and self.tokens[self.position] == ("mark", mark)

    def _take(self, kind: str, expected: str) -> str:
        if not self.peek(kind):
            self.fail("the end of the line" if self.at_end() else repr(self.tokens[self.position][1]), expected)
        self.position += 1
        return self.tokens[self.position - 1][1]

    def skip(self, mark: str) -> bool:
        if not self.peek_mark(mark):
            return False
        self.position += 1
        return True

    def skip_word(self, word: str) -> bool:
        if self.at_end() or self.tokens[self.position] != ("word", word):
            return False
        self.position += 1
        return True

    def mark(self, mark: str) -> None:
        if not self.skip(mark):
            self.fail("the end of the line" if self.at_end() else repr(self.tokens[self.position][1]), repr(mark))

    def word(self, *allowed: str) -> str:
        expected = " or ".join(allowed) if allowed else "a word"
        word = self._take("word", expected)
        if allowed and word not in allowed:
            self.fail(repr(word), expected)
        return word

    def string(self) -> str:
        token = self._take("string", "a quoted string")
        try:
            return json.loads(token)
        except ValueError:
            self.fail(token[:40], "a string as in JSON")

    def value_name(self) -> str:
        if self.skip("%"):
            return self.string()
        return self._take("value", "a value, %name")[1:]

    def number(self) -> int | float:
        token = self._take("number", "a number")
        return int(token) if re.fullmatch(r"[-+]?\d{1,30}", token) else float(token)

    def integer(self) -> int:
        number = self.number()
        if not isinstance(number, int):
            self.fail(repr(number), "an integer")
        return number

    def numbers(self, closing: str) -> list[int | float]:
        """Numbers up to the closing mark."""
        found: list[int | float] = []
        while not self.skip(closing):
            if found:
                self.mark(",")
            found.append(self.number())
        return found

    def integers(self, closing: str) -> list[int]:
        found: list[int] = []
        while not self.skip(closing):
            if found:
                self.mark(",")
            found.append(self.integer())
        return found

    def literal(self) -> Any:
        """The value of an attribute: a number, word, string, or values in parentheses."""
        if self.skip("("):
            parts: list[Any] = []
            while not self.skip(")"):
                if parts:
                    self.mark(",")
                parts.append(self.literal())
            return tuple(parts)
        if self.peek("number"):
            return self.number()
        if self.peek("string"):
            return self.string()
        word = self.word()
        return {"true": True, "false": False, "none": _Word("none")}.get(word, _Word(word))
