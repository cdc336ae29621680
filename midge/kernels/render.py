"""Templates of kernels: files that read as C, filled with strict names."""

from __future__ import annotations

from functools import cache

import jinja2
import numpy as np

from midge.kernels.base import Function
from midge.ops.base import Rounding


@cache
def environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("midge", "kernels"), jinja2.PackageLoader("midge", "emit/templates")]
        ),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **names: object) -> str:
    """The text of a template under `kernels/` or `emit/templates/` with these names filled in."""
    return environment().get_template(template).render(**names)


def function(template: str, name: str, **names: object) -> Function:
    """A shared C function from a template; the template calls it `{{ name }}`."""
    return Function(name, render(template, name=name, **names).strip() + "\n")


def helper(file: str) -> Function:
    """A function of `kernels/common/<file>.c.j2`, which is named `midge_<file>`."""
    return Function(f"midge_{file}", render(f"common/{file}.c.j2").strip() + "\n")


def scale_helper(rounding: Rounding) -> Function:
    """The function that scales an accumulator by a Q31 multiplier and a shift (docs/numerics.md)."""
    return helper(f"scale_{rounding.value}")


def c_float(value: float | np.floating) -> str:
    """A float32 as an exact C99 literal."""
    number = np.float32(value)
    if np.isinf(number):
        return "-INFINITY" if number < 0 else "INFINITY"
    text = float(number).hex()
    return f"{text}f"
