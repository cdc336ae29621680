"""Which values share memory: reshapes of one tensor, and results that overwrite their operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from midge.errors import InternalError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels.base import Binding, Layout, Reads
from midge.ops.reshape import Reshape
from midge.plan.copies import flat_values, root_value


@dataclass(frozen=True, slots=True)
class Reader:
    """An operand of a task. `needs[s]` are the first and last row that step s reads, in the tensor's own rows."""

    task: int
    position: int
    needs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value with its reshaped views: made by one task (None: a graph input), read by several."""

    name: str
    rows: int
    row_bytes: int
    producer: int | None
    readers: tuple[Reader, ...]
    is_output: bool
    """Read after the last action: an output, or what a state will hold."""
    is_state: bool
    """What a state holds: its memory is its own for ever."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Memory that one tensor, or a chain of tensors each overwriting the one before, lives in."""

    tensors: tuple[int, ...]
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
    operands: tuple[tuple[int | None, ...], ...]
    """Tensor of each operand of each task (None: constant or left out)."""
    results: tuple[tuple[int, ...], ...]
    tensors: tuple[Tensor, ...]
    storages: tuple[Storage, ...]
    storage_of: tuple[int, ...]


def build_network(graph: Graph, bindings: Mapping[str, Binding], pushed: Sequence[str] = ()) -> Network:
    """Tensors, storages and readers of a graph whose copies have been inserted; `pushed` inputs come by rows."""
    nodes = tuple(node for node in graph.nodes if not isinstance(node.op, Reshape))
    used = {root_value(graph, name) for node in nodes for name in (*node.inputs, *node.outputs) if name is not None}
    used |= {root_value(graph, name) for name in graph.sinks}
    roots = [name for name in graph.values if name in used and not graph.values[name].is_constant]
    roots += [name for name in graph.sources if name not in used]
    index = {name: position for position, name in enumerate(roots)}

    def tensor_of(name: str | None) -> int | None:
        return None if name is None else index.get(root_value(graph, name))

    operands = tuple(
        tuple(
            tensor_of(name) if reads is not None else None
            for name, reads in zip(node.inputs, bindings[node.name].reads, strict=True)
        )
        for node in nodes
    )
    results = tuple(tuple(index[name] for name in node.outputs) for node in nodes)
    ordered = tuple(bindings[node.name] for node in nodes)
    tensors = tuple(_tensor(graph, name, nodes, ordered) for name in roots)
    flat = flat_values(graph, bindings)
    groups = _share(ordered, operands, results, tensors, flat, frozenset(pushed))
    storages = tuple(
        replace(found, is_flat=False, is_pushed=True) if tensors[found.tensors[0]].name in pushed else found
        for found in (_storage(graph, group, ordered, operands, results, tensors, flat) for group in groups)
    )
    storage_of = [0] * len(tensors)
    for position, group in enumerate(groups):
        for tensor in group:
            storage_of[tensor] = position
    return Network(nodes, ordered, operands, results, tensors, storages, tuple(storage_of))


def _tensor(graph: Graph, name: str, nodes: Sequence[Node], bindings: Sequence[Binding]) -> Tensor:
    type_ = graph.type(name)
    readers = []
    producer = None
    for task, node in enumerate(nodes):
        if name in node.outputs:
            producer = task
        for position, operand in enumerate(node.inputs):
            if operand is None or bindings[task].reads[position] is None or root_value(graph, operand) != name:
                continue
            view = graph.type(operand)
            same_rows = (view.rows, view.row_elements) == (type_.rows, type_.row_elements)
            readers.append(Reader(task, position, _needs(bindings[task], position, None if same_rows else type_.rows)))
    is_output = any(root_value(graph, sink) == name for sink in graph.sinks)
    is_state = any(state.before == name for state in graph.states)
    row_bytes = type_.row_elements * type_.dtype.bytes
    return Tensor(name, type_.rows, row_bytes, producer, tuple(readers), is_output, is_state)


def _needs(binding: Binding, position: int, all_rows: int | None) -> tuple[tuple[int, int], ...]:
    """Rows of one operand for each step; a view with other rows needs all of the tensor at once."""
    needs = []
    for step in binding.steps:
        need = step.needs[position]
        if need is None:
            raise InternalError(binding.kernel.name, f"operand {position} has no row needs")
        needs.append(need if all_rows is None else (0, all_rows - 1))
    return tuple(needs)


def _share(bindings: Sequence[Binding], operands: Sequence[Sequence[int | None]], results: Sequence[Sequence[int]],
           tensors: Sequence[Tensor], flat: frozenset[str], pushed: frozenset[str]) -> list[list[int]]:  # fmt: skip
    """Groups of tensors in one memory: a result joins its operand's group where overwriting it is legal."""
    group_of: dict[int, list[int]] = {position: [position] for position in range(len(tensors))}
    for task, binding in enumerate(bindings):
        for position in binding.in_place:
            source, result = operands[task][position], results[task][0]
            if (
                source is None
                or tensors[source].name in pushed
                or _refuse_overwriting(tensors, bindings, task, position, source, result)
                or _refuse_padding([tensors[tensor] for tensor in (*group_of[source], result)], bindings, flat)
            ):
                continue
            group_of[source].append(result)
            group_of[result] = group_of[source]
            break
    groups: list[list[int]] = []
    for position in range(len(tensors)):
        if not any(group_of[position] is group for group in groups):
            groups.append(group_of[position])
    return groups


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


def _storage(graph: Graph, group: Sequence[int], bindings: Sequence[Binding], operands: Sequence[Sequence[int | None]],
             results: Sequence[Sequence[int]], tensors: Sequence[Tensor], flat: frozenset[str]) -> Storage:  # fmt: skip
    reads = [
        found
        for tensor in group
        for reader in tensors[tensor].readers
        for operand, found in zip(operands[reader.task], bindings[reader.task].reads, strict=True)
        if operand == tensor and found is not None
    ]
    type_ = graph.type(tensors[group[-1]].name)
    layout = _layout(group, bindings, results, tensors, reads, type_.dtype)
    element_bytes = layout.dtype.bytes
    fill = ((type_.zero_point + layout.excess) & 0xFF) if type_.dtype.bytes == 1 and layout.fraction_bits is None else 0
    left, right, top, bottom = (
        max((getattr(read, side) for read in reads), default=0) for side in ("left", "right", "top", "bottom")
    )
    return Storage(
        tensors=tuple(group),
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
        is_flat=any(tensors[tensor].name in flat for tensor in group),
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
