"""Midge: trained neural networks become firmware for microcontrollers.

The verbs are in `midge.api`; they are loaded when first used, so that importing a part stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Diagnosis",
    "Inspection",
    "MidgeQuantizer",
    "Model",
    "Package",
    "Program",
    "Quantized",
    "Result",
    "Verification",
    "__version__",
    "boards",
    "compile",
    "diagnose",
    "inspect",
    "load",
    "open_model",
    "quantize",
    "run_host",
    "verify_host",
]  # fmt: skip

if TYPE_CHECKING:
    from midge.api import (
        Diagnosis,
        Inspection,
        Model,
        Package,
        Program,
        Quantized,
        Result,
        Verification,
        boards,
        compile,
        diagnose,
        inspect,
        open_model,
        quantize,
        run_host,
        verify_host,
    )
    from midge.compress.pt2e import MidgeQuantizer
    from midge.load import load


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'midge' has no attribute '{name}'")
    if name == "load":
        # The folder of importers is the verb too: its module can be called (midge/load/__init__.py).
        import midge.load

        return midge.load
    if name == "MidgeQuantizer":
        return _quantizer()
    import midge.api

    return getattr(midge.api, name)


def _quantizer() -> Any:
    try:
        from midge.compress.pt2e import MidgeQuantizer
    except ModuleNotFoundError as error:
        from midge.errors import ToolError

        cure = "Run `pip install midge[pt2e]` or `pip install torch torchao`"
        raise ToolError("midge.MidgeQuantizer", f"{error.name} is not installed", cure=cure) from error
    return MidgeQuantizer


def __dir__() -> list[str]:
    return sorted(__all__)
