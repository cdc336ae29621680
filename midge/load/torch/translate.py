"""Walks an exported program: constants are computed, everything else becomes records."""

from __future__ import annotations

from typing import Any

import numpy as np

from midge.errors import UnsupportedError
from midge.load.onnx.file import RawModel
from midge.load.records import Records
from midge.load.torch.call import Call, Refused
from midge.load.torch.rows import FOLLOWED, ROWS

_MOST_NODES = 100_000


def translate(program: Any, file: str) -> RawModel:
    """The records of a functional program."""
    records: Records = Records(file)
    names: dict[Any, Any] = {}
    nodes = list(program.graph.nodes)
    if len(nodes) > _MOST_NODES:
        raise UnsupportedError(file, f"{len(nodes):,} operators", f"at most {_MOST_NODES:,}")
    constants = constants_of(program)
    for node in nodes:
        if node.op == "placeholder":
            names[node] = constants[node.name] if node.name in constants else _input(records, node)
        elif node.op == "call_function":
            records.layer = node.name
            names[node] = _known(node, names) if _is_constant(node, names) else _call(records, node, names)
        elif node.op == "output":
            _outputs(records, program, node, names)
        elif node.op == "get_attr":
            names[node] = records.refuse("torch.get_attr", (), 1, "a subgraph")[0]
    return records.model()


def constants_of(program: Any) -> dict[str, Any]:
    """Parameters, buffers and constants, by the names of their placeholders."""
    import torch

    found = {}
    for spec in program.graph_signature.input_specs:
        if spec.target is None:
            continue
        held = program.constants.get(spec.target, program.state_dict.get(spec.target))
        if isinstance(held, torch.Tensor):
            found[spec.arg.name] = held.detach()
    return found


def _input(records: Records, node: Any) -> str:
    import torch

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        raise UnsupportedError(records.file, f"the input {node.name!r} that is no tensor", "tensors",
                               "Wrap the module into one that sets it")  # fmt: skip
    return records.input(node.name, np.dtype(str(value.dtype).removeprefix("torch.")), tuple(value.shape))


def _outputs(records: Records, program: Any, node: Any, names: dict[Any, Any]) -> None:
    by_name = {one.name: one for one in names}
    records.layer = "output"
    for name in program.graph_signature.user_outputs:
        maker = by_name[name]
        found = names[maker]
        if not isinstance(found, str):
            raise UnsupportedError(records.file, f"the output {name!r} does not depend on any input", "",
                                   "Remove it from the model")  # fmt: skip
        value = maker.meta["val"]
        dtype = np.dtype(str(value.dtype).removeprefix("torch."))
        records.output(found, dtype, tuple(value.shape))
    del node


def _operands(node: Any) -> list[Any]:
    import torch

    found: list[Any] = []
    torch.fx.map_arg((node.args, node.kwargs), found.append)
    return found


def _is_constant(node: Any, names: dict[Any, Any]) -> bool:
    """True where all operands are constants. Dequantised weights stay records, which remember their integers."""
    import torch

    if "dequantize" in str(node.target):
        return False
    return all(isinstance(names[operand], torch.Tensor | tuple) and not _has_records(names[operand])
               for operand in _operands(node))  # fmt: skip


def _has_records(found: Any) -> bool:
    return isinstance(found, str) or (isinstance(found, tuple) and any(_has_records(one) for one in found))


def _known(node: Any, names: dict[Any, Any]) -> Any:
    """The constant that a node makes."""
    import torch

    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), names.__getitem__)
    with torch.no_grad():
        found = node.target(*args, **kwargs)
    return tuple(found) if isinstance(found, list) else found


def _call(records: Records, node: Any, names: dict[Any, Any]) -> Any:
    """The names of what a node makes: one, or a tuple of them."""
    if getattr(node.target, "__name__", "") == "getitem":
        return names[node.args[0]][node.args[1]]
    value = node.meta.get("val")
    count = len(value) if isinstance(value, list | tuple) else 1
    name = _operator(node)
    call = Call(records, node, _arguments(node), names)
    row = ROWS.get(name)
    if name in FOLLOWED:
        return call.tensor(FOLLOWED[name])
    before = len(records.nodes)
    try:
        if row is None:
            raise Refused(_REASONS.get(name, ""))
        return row(call)
    except Refused as refused:
        del records.nodes[before:]
        inputs = [names[one] for one in _operands(node) if isinstance(names[one], str)]
        made = records.refuse(name, inputs, count, refused.reason)
        return made if isinstance(value, list | tuple) else made[0]


_REASONS = {"aten.embedding": "indices as inputs: put the embedding's rows in as the input instead"}


def _operator(node: Any) -> str:
    """`aten.conv2d`: an operator without its overload."""
    text = str(node.target)
    return ".".join(text.split(".")[:2]) if "." in text else text


def _arguments(node: Any) -> dict[str, Any]:
    """Operands by the names of the operator's schema, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    found = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
    found.update(zip((argument.name for argument in schema.arguments), node.args, strict=False))
    found.update(node.kwargs)
    return found
