"""Functions in the place of their calls: those of the file, and those by which ONNX defines operators."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_MOST_LEVELS = 4
"""How deep definitions by definitions go."""


def inlined(model: Any, native: Collection[str]) -> Any:
    """The model without calls of its own functions, and without operators that ONNX defines by others.

    Those of `native` stay, and those whose definition cannot be had: it may depend on element types that are not known.
    """
    from onnx import inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    for _ in range(_MOST_LEVELS):
        found = _defined(model, native)
        if not found:
            break
        try:
            model = inliner.inline_selected_functions(_explicit(model, found), found, inline_schema_functions=True)
        except RuntimeError:  # ONNX's assertions
            break
    return model


def _explicit(model: Any, called: Collection[tuple[str, str]]) -> Any:
    """A copy that says all that definitions ask for: types of constants and results, and attributes left out.

    The inliner takes an attribute that is left out for absent, whatever its default is.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    stated = {info.name for info in (*made.graph.input, *made.graph.value_info)}
    for tensor in made.graph.initializer:
        if tensor.name not in stated:
            made.graph.value_info.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in made.graph.node:
        if (node.domain, node.op_type) in called:
            present = {attribute.name for attribute in node.attribute}
            schema = onnx.defs.get_schema(node.op_type, _opset(made))
            node.attribute.extend(
                attribute.default_value for name, attribute in sorted(schema.attributes.items())
                if name not in present and attribute.default_value.name
            )  # fmt: skip
    return onnx.shape_inference.infer_shapes(made)


def _opset(model: Any) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _defined(model: Any, native: Collection[str]) -> list[tuple[str, str]]:
    """Operators of the model that have a definition by others."""
    import onnx

    opset = _opset(model)
    found = []
    for domain, name in sorted({(node.domain, node.op_type) for node in model.graph.node}):
        if domain not in ("", "ai.onnx") or name in native or not onnx.defs.has(name, opset):
            continue
        schema: Any = onnx.defs.get_schema(name, opset)
        if schema.has_function or schema.has_context_dependent_function:
            found.append((domain, name))
    return found
