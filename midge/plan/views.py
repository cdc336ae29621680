"""Concatenations and slices that move nothing: values that lie within another value's memory.

A part of a result of a concatenation is written where the result has it, and who reads a slice reads it where the
whole has it. Such a node needs no kernel: it is left out of the plan, as a reshape is. Parts may be rows, columns or
channels. Where a value's pixels then lie further apart than its own channels, it is *pitched*, and all kernels that
write or read it must be able to do that. `find_views` says which nodes can be left out; the rules are in
docs/decisions/0005-parts-in-place.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.kernels.base import Binding, Layout, Reads
from midge.ops.concatenation import Concatenation
from midge.ops.rearrange import Rearrange
from midge.ops.reshape import Reshape
from midge.plan.copies import flat_values, root_value

_WORD_BYTES = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies within another one: after so many of its rows, columns and channels.

    `element` instead: the value has rows of another length, and is a run of the other one's elements, all side by side,
    that begins at this one.
    """

    row: int = 0
    column: int = 0
    channel: int = 0
    is_pitched: bool = False
    """Its pixels lie as far apart as those of the value that it lies in."""
    element: int | None = None

    def first(self, outer: TensorType) -> int:
        """The element of the outer value that it begins with."""
        if self.element is not None:
            return self.element
        return self.row * outer.row_elements + self.column * outer.channels + self.channel


@dataclass(frozen=True, slots=True)
class Views:
    """What lies within what. Values are roots: those that no reshape makes."""

    left_out: frozenset[str]
    """Names of the nodes that need no kernel."""
    made_of: Mapping[str, tuple[tuple[str, Place], ...]]
    """For the result of each such node: of a concatenation its parts, and their places in it; of a slice the whole, and
    the slice's place there."""
    slices: frozenset[str]
    """Those results that are slices."""
    bases: Mapping[str, tuple[str, Place]]
    """For each value that lies in another's memory: the outermost one, and the place there."""

    def base(self, name: str) -> str:
        return self.bases[name][0] if name in self.bases else name

    def place(self, name: str) -> Place:
        return self.bases[name][1] if name in self.bases else Place()


NO_VIEWS = Views(frozenset(), {}, frozenset(), {})


def find_views(graph: Graph, bindings: Mapping[str, Binding], pushed: Collection[str] = (),
               kept: Collection[str] = ()) -> Views:  # fmt: skip
    """All concatenations and slices that can be left out, in execution order; but for the nodes named in `kept`."""
    moves = [node for node in graph.nodes if isinstance(node.op, Concatenation | Rearrange) and node.name not in kept]
    if not moves:
        return NO_VIEWS
    links = _Links(graph, bindings, pushed)
    for node in moves:
        links.leave_out(node)
    bases = {name: links.base_of(name) for name in links.outer}
    slices = {node.outputs[0] for node in moves if isinstance(node.op, Rearrange)}
    return Views(frozenset(links.left_out), links.made_of, frozenset(slices), bases)


@dataclass(slots=True)
class _Value:
    """What is known of a root: who makes it and who reads it."""

    type: TensorType
    is_flat: bool
    producer: Binding | None = None
    layout: Layout | None = None
    readers: list[tuple[str, Binding, Reads]] = field(default_factory=list)
    """(node, its binding, how it reads)."""


class _Links:
    """Values that lie within others, as they are found."""

    def __init__(self, graph: Graph, bindings: Mapping[str, Binding], pushed: Collection[str]) -> None:
        self.graph, self.pushed = graph, frozenset(pushed)
        self.bindings = bindings
        flat = flat_values(graph, bindings)
        self.values: dict[str, _Value] = {}
        self.sinks = {root_value(graph, name) for name in graph.outputs}
        self.befores = {state.before: root_value(graph, state.after) for state in graph.states}
        self.afters = set(self.befores.values())
        self.outer: dict[str, tuple[str, Place]] = {}
        self.inner: dict[str, list[str]] = {}
        self.left_out: set[str] = set()
        self.virtual: set[str] = set()
        """What the nodes that are left out make."""
        self.made_of: dict[str, tuple[tuple[str, Place], ...]] = {}
        for name, value in graph.values.items():
            if not value.is_constant:
                self.values[name] = _Value(value.type, name in flat)
        for node in graph.nodes:
            if isinstance(node.op, Reshape):
                continue
            binding = bindings[node.name]
            for name, layout in zip(node.outputs, binding.writes, strict=True):
                self.values[name].producer, self.values[name].layout = binding, layout
            for name, reads in zip(node.inputs, binding.reads, strict=True):
                if name is not None and reads is not None:
                    self.values[root_value(graph, name)].readers.append((node.name, binding, reads))

    def leave_out(self, node: Node) -> None:
        """Link the values of a node, if all of them can be."""
        links = self._parts(node) if isinstance(node.op, Concatenation) else self._slice(node)
        if links is None:
            return
        self.left_out.add(node.name)
        self.virtual.add(node.outputs[0])
        for position, (inner, outer, place) in enumerate(links):
            self.outer[inner] = outer, place
            self.inner.setdefault(outer, []).append(inner)
            if self._refuse(self.base_of(inner)[0]) is not None:
                for name, of, _ in links[: position + 1]:
                    del self.outer[name]
                    self.inner[of].remove(name)
                self.left_out.discard(node.name)
                self.virtual.discard(node.outputs[0])
                return
        result = node.outputs[0]
        is_slice = isinstance(node.op, Rearrange)
        self.made_of[result] = tuple((outer if is_slice else inner, place) for inner, outer, place in links)

    def base_of(self, name: str) -> tuple[str, Place]:
        """The outermost value that a value lies in, and where."""
        place = Place()
        while name in self.outer:
            outer, own = self.outer[name]
            place = _composed(place, self.values[name].type, own, self.values[outer].type)
            name = outer
        return name, place

    def _parts(self, node: Node) -> list[tuple[str, str, Place]] | None:
        """(operand, result, place) of each operand of a concatenation; None where one can't be a part."""
        result = node.outputs[0]
        roots = [root_value(self.graph, name or "") for name in node.inputs]
        if len(set(roots)) < len(roots) or any(not self._may_be_part(root) for root in roots):
            return None
        links = []
        for root, name, place in zip(roots, node.inputs, part_places(node, self.graph), strict=True):
            found = place and _through_reshape(place, self.graph.type(name or ""), self.graph.type(root),
                                               self.graph.type(result))  # fmt: skip
            if found is None:
                return None
            links.append((root, result, found))
        return links

    def _may_be_part(self, root: str) -> bool:
        """A value may lie in one other value. What the caller writes lies by itself."""
        return root in self.values and root not in self.outer and root not in self.graph.inputs

    def _slice(self, node: Node) -> list[tuple[str, str, Place]] | None:
        """(result, operand, place) of a slice; None where it is none."""
        name = node.inputs[0] or ""
        root = root_value(self.graph, name)
        if root not in self.values or root in self.pushed:
            return None
        assert isinstance(node.op, Rearrange)
        view, source, result = self.graph.type(name), self.graph.type(root), self.graph.type(node.outputs[0])
        place = slice_place(node.op, view, result)
        if place is None:
            return None
        if _cut(view) != _cut(source):
            if place.is_pitched or not _is_run(place, result, view):
                return None
            place = Place(element=place.first(view))
        return [(node.outputs[0], root, place)]

    def _members(self, base: str) -> Iterator[str]:
        yield base
        for name in self.inner.get(base, ()):
            yield from self._members(name)

    def _refuse(self, base: str) -> str | None:
        """None where all values of a base can lie in it; else the reason why not."""
        members = [(name, self.base_of(name)[1]) for name in self._members(base)]
        whole = self.values[base].type
        layouts = {layout for name, _ in members for layout in self._layouts(name)}
        if len(layouts) > 1:
            return f"{base} would lie in several layouts"
        layout = layouts.pop() if layouts else Layout(whole.dtype)
        is_flat = any(self.values[name].is_flat or place.element is not None for name, place in members)
        if is_flat and not layout.is_natural:
            return f"{base} has to lie flat"
        for name, place in members:
            if self._is_torn(name):
                return f"{name} is no run of elements"
            reason = self._refuse_reading(name, place, whole, is_flat=is_flat) or self._refuse_place(
                name, place, whole, layout
            )
            if reason is not None:
                return reason
        return self._refuse_states([name for name, _ in members])

    def _is_torn(self, name: str) -> bool:
        """True where a value is no run of one that is a run of elements itself."""
        place, inside = Place(), name
        while inside in self.outer:
            outer, own = self.outer[inside]
            if own.element is not None and not _is_run(place, self.values[name].type, self.values[inside].type):
                return True
            place = _composed(place, self.values[inside].type, own, self.values[outer].type)
            inside = outer
        return False

    def _layouts(self, name: str) -> Iterator[Layout]:
        value = self.values[name]
        if value.layout is not None:
            yield value.layout
        yield from (reads.layout for _, _, reads in value.readers)

    def _refuse_reading(self, name: str, place: Place, whole: TensorType, *, is_flat: bool) -> str | None:
        """Why readers of a value can't read it at its place."""
        value = self.values[name]
        for node, binding, reads in value.readers:
            if node in self.left_out:
                continue
            if reads.is_padded and is_flat:
                return f"{node} wants padding round {name}, which lies flat"
            if (reads.left or reads.right) and value.type.columns != whole.columns:
                return f"{node} wants padding beside some columns of {name}"
            is_narrow = value.type.channels != whole.channels and not (place.is_pitched or reads.layout.planes)
            if (reads.left or reads.right) and is_narrow:
                return f"{node} wants padding beside {name}, whose only pixel is narrower than the padding's"
            if (reads.top or reads.bottom) and value.type.rows != whole.rows:
                return f"{node} wants padding above or below some rows of {name}"
            if place.is_pitched and not reads.layout.planes and not binding.kernel.reads_pitched:
                return f"{node} reads pixels that lie side by side"
        return None

    def _refuse_place(self, name: str, place: Place, whole: TensorType, layout: Layout) -> str | None:
        """Why a value can't be written, or addressed, at its place."""
        value = self.values[name]
        producer = None if name in self.virtual or layout.planes or not place.is_pitched else value.producer
        if producer is not None and producer.kernel.most_pitch_bytes < whole.channels * layout.dtype.bytes:
            return f"{name} is written with its pixels side by side"
        if value.is_flat and not _is_run(place, value.type, whole):
            return f"{name} has to lie flat"
        return None if _is_aligned(place, value.type, whole, layout) else f"{name} would not begin at a word"

    def _refuse_states(self, members: list[str]) -> str | None:
        """What a state holds must not change before the last action, nor be handed on before it has been read."""
        befores = [name for name in members if name in self.befores]
        sources = [name for name in members if name in self.graph.sources]
        if sources and any(name in self.sinks for name in members):
            return "an output would lie in what an input or a state holds"
        own = {self.befores[name] for name in befores}
        if len(befores) > 1 or (befores and any(name in self.afters and name not in own for name in members)):
            return "two states would share memory"
        return None


def _composed(inner: Place, value: TensorType, outer: Place, base: TensorType) -> Place:
    """A place within a value that has a place itself."""
    if inner == Place():
        return outer
    if outer == Place():
        return inner
    if inner.element is not None or outer.element is not None:
        return Place(element=inner.first(value) + outer.first(base))
    return Place(inner.row + outer.row, inner.column + outer.column, inner.channel + outer.channel,
                 inner.is_pitched or outer.is_pitched)  # fmt: skip


def _cut(type_: TensorType) -> tuple[int, int, int]:
    return type_.rows, type_.columns, type_.channels


def _is_run(place: Place, value: TensorType, base: TensorType) -> bool:
    """True where the elements of a value lie side by side in a base without padding."""
    if place.is_pitched:
        return False
    return place.element is not None or value.rows == 1 or value.row_elements == base.row_elements


def _is_aligned(place: Place, value: TensorType, base: TensorType, layout: Layout) -> bool:
    """True where rows and pixels begin at words wherever those of a buffer of the value's own would."""
    size = layout.dtype.bytes
    if layout.planes:
        return place.column * size % _WORD_BYTES == 0
    row_bytes = value.row_elements * size if layout.is_natural else _WORD_BYTES
    wanted = _WORD_BYTES if value.rows == 1 else math.gcd(_WORD_BYTES, row_bytes)
    starts = [(place.column * base.channels + place.channel) * size]
    if place.element is not None:
        starts = [place.element * size]
    elif value.rows > 1 or place.row:
        starts.append(base.row_elements * size if layout.is_natural else 0)
    if place.is_pitched:
        wanted = math.gcd(wanted, value.channels * size)
        starts.append(base.channels * size)
    return all(start % wanted == 0 for start in starts)


def _through_reshape(place: Place, view: TensorType, root: TensorType, base: TensorType) -> Place | None:
    """The place of the value that a reshape sees as `view`, which has this place in a base; None where it has none."""
    if _cut(view) == _cut(root):
        return place
    return Place(element=place.first(base)) if _is_run(place, view, base) else None


def part_places(node: Node, graph: Graph) -> list[Place | None]:
    """Where each operand of a concatenation lies in its result; None for one that lies in no rectangle of it."""
    assert isinstance(node.op, Concatenation)
    y, axis = graph.type(node.outputs[0]), node.op.axis
    types = [graph.type(name or "") for name in node.inputs]
    if y.rows > 1 and axis < 2:
        rows = [type_.rows for type_ in types]
        return [Place(row=sum(rows[:index])) for index in range(len(rows))]
    first = 2 if y.rows > 1 else 0
    turns = math.prod(y.shape[first:axis])
    sizes = [math.prod(type_.shape[axis:]) for type_ in types]
    before = [sum(sizes[:index]) for index in range(len(sizes))]
    if axis == len(y.shape) - 1 and y.columns > 1:
        return [Place(channel=start, is_pitched=True) if turns == y.columns else None for start in before]
    if turns != 1:
        return [None] * len(types)
    if y.columns == 1:
        return [Place(channel=start) for start in before]
    has_pixels = all(type_.channels == y.channels for type_ in types)
    return [Place(column=start // y.channels) if has_pixels else None for start in before]


@lru_cache(maxsize=512)
def slice_place(op: Rearrange, x: TensorType, y: TensorType) -> Place | None:
    """Where the result of a rearrangement lies in its operand; None where it is no rectangle of it."""
    first, last = op.offset, op.offset + sum((n - 1) * stride for n, stride in zip(op.counts, op.strides, strict=True))
    row, within = divmod(first, x.row_elements)
    column, channel = divmod(within, x.channels)
    is_inside = row + y.rows <= x.rows and column + y.columns <= x.columns and channel + y.channels <= x.channels
    if is_inside:
        elements = np.arange(x.elements).reshape(x.rows, x.columns, x.channels)
        box = elements[row : row + y.rows, column : column + y.columns, channel : channel + y.channels]
        if np.array_equal(box.reshape(-1), op.positions()):
            return Place(row, column, channel, y.columns > 1 and y.channels != x.channels)
    is_run = last - first + 1 == y.elements and np.array_equal(op.positions(), np.arange(first, last + 1))
    return Place(element=first) if is_run else None
