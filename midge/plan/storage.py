"""Which values share memory: reshapes of one tensor, and results that overwrite their operands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from midge.errors import InternalError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels.base import Binding, Layout, Reads
from midge.ops.reshape import Reshape
from midge.plan.copies import flat_values, root_value
from midge.plan.pieces import Piece, pieces_of
from midge.plan.views import Place, Views, find_views


@dataclass(frozen=True, slots=True)
class Reader:
    """An operand of a task. `needs[s]` are the first and last row that step s reads, in the tensor's own rows."""

    task: int
    position: int
    needs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value with its reshaped views: made by one task (None: a graph input), read by several.

    Values that concatenations and slices make in place (`views.py`) are none: who reads them reads the tensors that they
    are made of.
    """

    name: str
    rows: int
    columns: int
    channels: int
    row_bytes: int
    producer: int | None
    readers: tuple[Reader, ...]
    is_output: bool
    """Read after the last action: an output, or what a state will hold."""
    is_state: bool
    """What a state holds: its memory is its own for ever."""
    place: Place = Place()
    """Where it lies in its storage."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Memory that one tensor, or a chain of tensors each overwriting the one before, lives in."""

    tensors: tuple[int, ...]
    name: str
    """Of the value that all others lie in, or that comes last."""
    rows: int
    layout: Layout
    row_bytes: int
    pixel_bytes: int
    left: int
    right: int
    top: int
    bottom: int
    fill: int
    planes: int
    slack_bytes: int
    is_flat: bool
    is_pushed: bool = False
    """Rows that the caller holds, one at a time: they take no memory."""

    @property
    def is_padded(self) -> bool:
        return (self.left, self.right, self.top, self.bottom) != (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Network:
    """The graph as the scheduler sees it: tasks with steps, tensors, and the storage of each tensor."""

    nodes: tuple[Node, ...]
    bindings: tuple[Binding, ...]
    operands: tuple[tuple[tuple[int, ...], ...], ...]
    """Tensors that each operand of each task is made of: one, or the parts of a concatenation (none: constant or left
    out)."""
    results: tuple[tuple[int, ...], ...]
    tensors: tuple[Tensor, ...]
    storages: tuple[Storage, ...]
    storage_of: tuple[int, ...]
    views: Views

    def storage_of_value(self, root: str) -> int:
        """The storage that a value lies in, which may be a tensor or made of some."""
        base = self.views.base(root)
        return next(
            index
            for index, storage in enumerate(self.storages)
            if base in (storage.name, *(self.tensors[tensor].name for tensor in storage.tensors))
        )


def build_network(graph: Graph, bindings: Mapping[str, Binding], pushed: Sequence[str] = (), *,
                  kept: Collection[str] = ()) -> Network:  # fmt: skip
    """Tensors, storages and readers of a graph whose copies have been inserted; `pushed` inputs come by rows.

    Concatenations and slices that need no kernel are left out (`views.py`), but for the nodes named in `kept`.
    """
    views = find_views(graph, bindings, pushed, kept)
    nodes = tuple(node for node in graph.nodes if not isinstance(node.op, Reshape) and node.name not in views.left_out)
    used = {root_value(graph, name) for node in graph.nodes for name in (*node.inputs, *node.outputs) if name}
    used |= {root_value(graph, name) for name in graph.sinks}
    values = [name for name in graph.values if name in used and not graph.values[name].is_constant]
    values += [name for name in graph.sources if name not in used]
    pieces = pieces_of(graph, values, views)
    roots = [name for name in values if name not in views.made_of]
    index = {name: position for position, name in enumerate(roots)}
    ordered = tuple(bindings[node.name] for node in nodes)
    operands = tuple(
        tuple(
            tuple(index[piece.tensor] for piece in pieces.get(root_value(graph, name), ()))
            if name is not None and reads is not None
            else ()
            for name, reads in zip(node.inputs, binding.reads, strict=True)
        )
        for node, binding in zip(nodes, ordered, strict=True)
    )
    results = tuple(tuple(index[name] for name in node.outputs) for node in nodes)
    tensors = _tensors(graph, roots, nodes, ordered, pieces, views)
    flat = flat_values(graph, bindings)
    flat |= {views.base(name) for name in views.bases if name in flat or views.place(name).element is not None}
    groups, places = _Sharing(graph, ordered, operands, results, tensors, flat, frozenset(pushed), views).found()
    tensors = tuple(replace(tensor, place=place) for tensor, place in zip(tensors, places, strict=True))
    storages = tuple(
        replace(found, is_flat=False, is_pushed=True) if tensors[found.tensors[0]].name in pushed else found
        for found in (_storage(graph, group, ordered, results, tensors, flat, views) for group in groups)
    )
    storage_of = [0] * len(tensors)
    for position, group in enumerate(groups):
        for tensor in group:
            storage_of[tensor] = position
    return Network(nodes, ordered, operands, results, tensors, storages, tuple(storage_of), views)


def _tensors(graph: Graph, roots: Sequence[str], nodes: Sequence[Node], bindings: Sequence[Binding],
             pieces: Mapping[str, Sequence[Piece]], views: Views) -> tuple[Tensor, ...]:  # fmt: skip
    producers = {name: task for task, node in enumerate(nodes) for name in node.outputs}
    readers: dict[str, list[Reader]] = {name: [] for name in roots}
    for task, node in enumerate(nodes):
        for position, operand in enumerate(node.inputs):
            if operand is None or bindings[task].reads[position] is None:
                continue
            root = root_value(graph, operand)
            view, type_ = graph.type(operand), graph.type(root)
            same_rows = (view.rows, view.row_elements) == (type_.rows, type_.row_elements)
            for piece in pieces.get(root, ()):
                seen = piece if same_rows else replace(piece, start=None)
                readers[piece.tensor].append(Reader(task, position, _needs(bindings[task], position, seen, view.rows)))
    read_last = {piece.tensor for name in graph.sinks for piece in pieces.get(root_value(graph, name), ())}
    befores = {state.before for state in graph.states}
    return tuple(
        Tensor(name, (type_ := graph.type(name)).rows, type_.columns, type_.channels,
               type_.row_elements * type_.dtype.bytes, producers.get(name), tuple(readers[name]), name in read_last,
               name in befores, views.place(name))
        for name in roots
    )  # fmt: skip


def _needs(binding: Binding, position: int, piece: Piece, rows: int) -> tuple[tuple[int, int], ...]:
    """Rows of one piece of an operand for each step; a view with other rows needs all of it at once."""
    needs = []
    for step in binding.steps:
        need = step.needs[position]
        if need is None:
            raise InternalError(binding.kernel.name, f"operand {position} has no row needs")
        needs.append(need)
    return piece.needs(needs, rows)


class _Sharing:
    """Groups of tensors in one memory: parts of one value, and results that overwrite their operand."""

    def __init__(self, graph: Graph, bindings: Sequence[Binding], operands: Sequence[Sequence[Sequence[int]]],
                 results: Sequence[Sequence[int]], tensors: Sequence[Tensor], flat: frozenset[str],
                 pushed: frozenset[str], views: Views) -> None:  # fmt: skip
        self.graph, self.bindings, self.operands, self.results = graph, bindings, operands, results
        self.tensors, self.flat, self.pushed, self.views = tensors, flat, pushed, views
        self.viewed = {views.base(name) for name in views.bases}
        self.places = [views.place(tensor.name) for tensor in tensors]
        by_base: dict[str, list[int]] = {}
        for position, tensor in enumerate(tensors):
            by_base.setdefault(views.base(tensor.name), []).append(position)
        self.group_of = [by_base[views.base(tensor.name)] for tensor in tensors]

    def found(self) -> tuple[list[list[int]], list[Place]]:
        """The groups, and the place of each tensor in its group's memory."""
        for task, binding in enumerate(self.bindings):
            for position in binding.in_place:
                if self._refuse(task, position) is None:
                    (source,), result = self.operands[task][position], self.results[task][0]
                    joined = self.group_of[source] + self.group_of[result]
                    for tensor in self.group_of[source]:
                        self.places[tensor] = self.places[result]
                    for tensor in joined:
                        self.group_of[tensor] = joined
                    break
        groups: list[list[int]] = []
        for group in self.group_of:
            if not any(group is known for known in groups):
                groups.append(group)
        return groups, self.places

    def _refuse(self, task: int, position: int) -> str | None:
        """None where a task may write its result over an operand; else the reason why not."""
        operand, result = self.operands[task][position], self.results[task][0]
        if len(operand) != 1:
            return "the operand is made of parts"
        source = operand[0]
        if self.tensors[source].name in self.pushed:
            return "the operand is the caller's"
        return (
            _refuse_overwriting(self.tensors, self.bindings, task, position, source, result)
            or self._refuse_parts(task, source, result)
            or _refuse_padding(
                [self.tensors[t] for t in (*self.group_of[source], *self.group_of[result])], self.bindings, self.flat
            )
        )

    def _refuse_parts(self, task: int, source: int, result: int) -> str | None:
        """The same where one of the two lies within another value, or others in it."""
        if self._is_viewed(source):
            return f"{self.tensors[source].name} has parts or is one"
        if not self._is_viewed(result):
            return None
        chain = [self.tensors[tensor] for tensor in self.group_of[source]]
        if any(one.producer is None or one.name in self.flat for one in chain):
            return f"{chain[0].name} lies by itself"
        if not self.places[result].is_pitched or self.bindings[task].writes[0].planes:
            return None
        producers = [self.bindings[one.producer].kernel for one in chain if one.producer is not None]
        base = self.graph.type(self.views.base(self.tensors[result].name))
        pitch_bytes = base.channels * self.bindings[task].writes[0].dtype.bytes
        can_write = all(kernel.most_pitch_bytes >= pitch_bytes for kernel in producers)
        can_read = all(self.bindings[reader.task].kernel.reads_pitched for one in chain for reader in one.readers)
        return None if can_write and can_read else "its pixels would lie apart"

    def _is_viewed(self, tensor: int) -> bool:
        return any(self.views.base(self.tensors[one].name) in self.viewed for one in self.group_of[tensor])


def _refuse_overwriting(tensors: Sequence[Tensor], bindings: Sequence[Binding], task: int, position: int, source: int,
                        result: int) -> str | None:  # fmt: skip
    """None where a task may write its result over an operand; else the reason why not."""
    a, b = tensors[source], tensors[result]
    if a.is_state:
        return f"{a.name} is what a state holds"
    if len(a.readers) != 1 or a.is_output:
        return f"{a.name} is read again"
    reads = bindings[task].reads[position]
    if (a.rows, a.row_bytes) != (b.rows, b.row_bytes) or reads is None or reads.layout != bindings[task].writes[0]:
        return f"{a.name} and {b.name} have rows of different shape"
    return None


def _refuse_padding(group: Sequence[Tensor], bindings: Sequence[Binding], flat: frozenset[str]) -> str | None:
    """None where these tensors may lie in one memory as far as padding goes; else the reason why not."""
    reads = ((one.name, bindings[reader.task].reads[reader.position]) for one in group for reader in one.readers)
    padded = [name for name, read in reads if read is not None and read.is_padded]
    level = [one.name for one in group if one.name in flat]
    return f"{level[0]} lies flat, {padded[0]} wants padding" if padded and level else None


def _storage(graph: Graph, group: Sequence[int], bindings: Sequence[Binding], results: Sequence[Sequence[int]],
             tensors: Sequence[Tensor], flat: frozenset[str], views: Views) -> Storage:  # fmt: skip
    reads = [
        found
        for tensor in group
        for reader in tensors[tensor].readers
        if (found := bindings[reader.task].reads[reader.position]) is not None
    ]
    bases = {views.base(tensors[tensor].name) for tensor in group}
    viewed = [base for base in bases if base in views.made_of]
    name = viewed[0] if viewed else tensors[group[-1]].name
    type_ = graph.type(name)
    layout = _layout(group, bindings, results, tensors, reads, type_.dtype)
    element_bytes = layout.dtype.bytes
    fill = ((type_.zero_point + layout.excess) & 0xFF) if type_.dtype.bytes == 1 and layout.fraction_bits is None else 0
    left, right, top, bottom = (
        max((getattr(read, side) for read in reads), default=0) for side in ("left", "right", "top", "bottom")
    )
    return Storage(
        tensors=tuple(group),
        name=name,
        rows=type_.rows,
        layout=layout,
        row_bytes=(type_.columns if layout.planes else type_.row_elements) * element_bytes,
        pixel_bytes=element_bytes if layout.planes else type_.channels * element_bytes,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        fill=fill,
        planes=type_.channels if layout.planes else 1,
        slack_bytes=max((read.over_bytes for read in reads), default=0),
        is_flat=name in flat or any(tensors[tensor].name in flat for tensor in group),
    )


def _layout(group: Sequence[int], bindings: Sequence[Binding], results: Sequence[Sequence[int]],
            tensors: Sequence[Tensor], reads: Sequence[Reads], dtype: DType) -> Layout:  # fmt: skip
    """The one layout that all writers and readers of a storage agree on."""
    layouts = {read.layout for read in reads}
    for tensor in group:
        producer = tensors[tensor].producer
        if producer is not None:
            layouts.add(bindings[producer].writes[results[producer].index(tensor)])
    if len(layouts) > 1:
        raise InternalError(tensors[group[0]].name, f"layouts {sorted(map(str, layouts))}", "one layout for all")
    return layouts.pop() if layouts else Layout(dtype)
