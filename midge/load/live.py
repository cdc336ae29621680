"""Models that are objects in memory, not files: whose they are, found without importing anyone's package."""

from __future__ import annotations

from typing import Any, Literal

Framework = Literal["keras", "torch"]


def framework_of(source: Any) -> Framework | None:
    """Whose model an object is; None where it is nobody's."""
    classes = [(kind.__module__.split(".")[0], kind.__name__) for kind in type(source).__mro__]
    if ("keras", "Model") in classes:  # on PyTorch's backend it is a torch.nn.Module as well
        return "keras"
    if ("torch", "Module") in classes or ("torch", "ExportedProgram") in classes:
        return "torch"
    return None


def name_of(source: Any) -> str:
    """What the model is called: its class, or the name that Keras gave it."""
    name = getattr(source, "name", None) if framework_of(source) == "keras" else None
    return name if isinstance(name, str) else type(source).__name__
