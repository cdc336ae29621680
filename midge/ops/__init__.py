"""Operators, found by listing this folder: a module that defines `CASES` and one operator class.

`OPERATORS` maps names (`conv2d`) to classes, `CASES` names to test tables. A new operator is a new file here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from midge.errors import InternalError
from midge.ops.base import Case, Op

_HELPERS = frozenset(
    {
        "base",
        "cases",
        "elementwise",
        "fixed_point",
        "fixed_point_s16",
        "map_s8",
        "tables_s16",
        "pooling",
        "unary",
        "windows",
    }
)
"""Modules here that define no operator."""


def _operator_of(module: ModuleType) -> type[Op]:
    classes = [
        member for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Op) and member.__module__ == module.__name__
    ]  # fmt: skip
    if len(classes) != 1:
        raise InternalError(module.__name__, f"{len(classes)} operator classes", "one")
    if not isinstance(getattr(classes[0], "name", None), str):
        raise InternalError(module.__name__, "an operator without a name", "a class variable `name`")
    if not getattr(module, "CASES", None):
        raise InternalError(module.__name__, "no CASES", "a table with at least one test case")
    return classes[0]


def _discover() -> tuple[dict[str, type[Op]], dict[str, tuple[Case, ...]]]:
    operators: dict[str, type[Op]] = {}
    cases: dict[str, tuple[Case, ...]] = {}
    for name in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if name in _HELPERS:
            continue
        module = importlib.import_module(f"{__name__}.{name}")
        operator = _operator_of(module)
        if operator.name in operators:
            raise InternalError(module.__name__, f"a second operator named {operator.name}", "unique names")
        operators[operator.name] = operator
        cases[operator.name] = module.CASES
    return operators, cases


_operators, _cases = _discover()
OPERATORS: Mapping[str, type[Op]] = MappingProxyType(_operators)
CASES: Mapping[str, tuple[Case, ...]] = MappingProxyType(_cases)
