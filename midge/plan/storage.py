"""Which values share memory: reshapes of one tensor, and results that overwrite their operands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from midge.errors import InternalError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
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
    value: str
    """What it reads of the tensor: the tensor itself, a slice of it, or what it is a part of."""
    columns: tuple[int, int] | None = None
    channels: tuple[int, int] | None = None
    """Where that lies in the storage, from the first one to the one after the last; None for the tensor itself."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value with its reshaped views: made by one task (None: a graph input), read by several.

    Values that concatenations and slices make in place (`views.py`) are none: who reads them reads the tensors that
    they are made of.
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
    place: Place
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
                needs = _needs(bindings[task], position, seen, view.rows)
                readers[piece.tensor].append(_reader(task, position, needs, root, piece.tensor, type_, views))
    read_last = {piece.tensor for name in graph.sinks for piece in pieces.get(root_value(graph, name), ())}
    befores = {state.before for state in graph.states}
    return tuple(
        Tensor(name, (type_ := graph.type(name)).rows, type_.columns, type_.channels,
               type_.row_elements * type_.dtype.bytes, producers.get(name), tuple(readers[name]), name in read_last,
               name in befores, views.place(name))
        for name in roots
    )  # fmt: skip


def _reader(task: int, position: int, needs: tuple[tuple[int, int], ...], value: str, tensor: str, type_: TensorType,
            views: Views) -> Reader:  # fmt: skip
    place = views.place(value)
    if value == tensor or place.element is not None:
        return Reader(task, position, needs, value)
    columns, channels = (place.column, place.column + type_.columns), (place.channel, place.channel + type_.channels)
    return Reader(task, position, needs, value, columns, channels)


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
                    self._join(task, position)
                    break
        groups: list[list[int]] = []
        for group in self.group_of:
            if not any(group is known for known in groups):
                groups.append(group)
        return groups, self.places

    def _join(self, task: int, position: int) -> None:
        (source,), result = self.operands[task][position], self.results[task][0]
        joined = self.group_of[source] + self.group_of[result]
        if self._is_viewed(result):
            for tensor in self.group_of[source]:
                self.places[tensor] = self.places[result]
        else:
            self.places[result] = self._place_read(task, position, source)
        for tensor in joined:
            self.group_of[tensor] = joined

    def _reader(self, task: int, position: int, source: int) -> Reader:
        readers = self.tensors[source].readers
        return next(reader for reader in readers if (reader.task, reader.position) == (task, position))

    def _place_read(self, task: int, position: int, source: int) -> Place:
        """Where that lies which a task reads of a tensor."""
        value = self._reader(task, position, source).value
        return self.places[source] if value == self.tensors[source].name else self.views.place(value)

    def _refuse(self, task: int, position: int) -> str | None:
        """None where a task may write its result over an operand; else the reason why not."""
        operand, result = self.operands[task][position], self.results[task][0]
        if len(operand) != 1:
            return "the operand is made of parts"
        source = operand[0]
        if self.tensors[source].name in self.pushed:
            return "the operand is the caller's"
        reader = self._reader(task, position, source)
        is_slice = reader.value != self.tensors[source].name
        return (
            (self._refuse_slice(reader, source) if is_slice else _refuse_readers(self.tensors[source]))
            or self._refuse_shape(task, position, reader.value, result)
            or self._refuse_parts(task, position, source, result)
            or _refuse_padding(
                [self.tensors[t] for t in (*self.group_of[source], *self.group_of[result])], self.bindings, self.flat
            )
        )

    def _refuse_slice(self, own: Reader, source: int) -> str | None:
        """Why what is read of a vector can't be overwritten while others read the rest."""
        vector = self.tensors[source]
        if vector.rows > 1 or vector.is_output or vector.is_state or own.value not in self.views.slices:
            return f"{vector.name} is no vector, or kept"
        mine = self._extent(own.value)
        others = [self._extent(reader.value) for reader in vector.readers if reader is not own]
        is_apart = all(end <= mine[0] or mine[1] <= first for first, end in others)
        return None if is_apart else f"{own.value} is read again"

    def _extent(self, value: str) -> tuple[int, int]:
        """The first element of a base that a value lies in, and the one after its last; of a base of one row."""
        base, type_ = self.graph.type(self.views.base(value)), self.graph.type(value)
        place = self.views.place(value)
        last = place.first(base) + (type_.columns - 1) * (base.channels if place.is_pitched else type_.channels)
        return place.first(base), last + type_.channels

    def _refuse_shape(self, task: int, position: int, value: str, result: int) -> str | None:
        """Why the result's rows do not fit into the operand's."""
        a, b, reads = self.graph.type(value), self.tensors[result], self.bindings[task].reads[position]
        same = (a.rows, a.row_elements * a.dtype.bytes) == (b.rows, b.row_bytes)
        if not same or reads is None or reads.layout != self.bindings[task].writes[0]:
            return f"{value} and {b.name} have rows of different shape"
        return None

    def _refuse_parts(self, task: int, position: int, source: int, result: int) -> str | None:
        """The same where one of the two lies within another value, or others in it."""
        if not self._is_viewed(source) and not self._is_viewed(result):
            return None
        if self._is_viewed(source) and self._is_viewed(result):
            return "both have parts or are some"
        place = self.places[result] if self._is_viewed(result) else self._place_read(task, position, source)
        chain = self.group_of[source] if self._is_viewed(result) else [result]
        for one in (self.tensors[tensor] for tensor in chain):
            if one.producer is None or one.name in self.flat:
                return f"{one.name} lies by itself"
            reads = [self.bindings[reader.task].reads[reader.position] for reader in one.readers]
            if any(read is not None and read.is_padded for read in reads):
                return f"{one.name} wants padding"
            base = self.graph.type(self._base(source if self._is_viewed(source) else result))
            kernels = [self.bindings[reader.task].kernel for reader in one.readers]
            pitch_bytes = base.channels * self.bindings[task].writes[0].dtype.bytes
            is_close = not place.is_pitched or self.bindings[task].writes[0].planes
            can_write = self.bindings[one.producer].kernel.most_pitch_bytes >= pitch_bytes
            if not is_close and not (can_write and all(kernel.reads_pitched for kernel in kernels)):
                return f"pixels of {one.name} would lie apart"
        return None

    def _base(self, tensor: int) -> str:
        """The value that all others of a tensor's group lie in."""
        bases = (self.views.base(self.tensors[one].name) for one in self.group_of[tensor])
        return next((base for base in bases if base in self.viewed), self.tensors[tensor].name)

    def _is_viewed(self, tensor: int) -> bool:
        return self._base(tensor) in self.viewed


def _refuse_readers(source: Tensor) -> str | None:
    """Why a tensor can't be overwritten by one of its readers."""
    if source.is_state:
        return f"{source.name} is what a state holds"
    return f"{source.name} is read again" if len(source.readers) != 1 or source.is_output else None


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
    wholes = {base for base, _ in views.bases.values()}
    name = next((base for tensor in group if (base := views.base(tensors[tensor].name)) in wholes), None)
    name = name or tensors[group[-1]].name
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
