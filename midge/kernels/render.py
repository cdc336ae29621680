"""Templates of kernels: files that read as C, filled with strict names."""

from __future__ import annotations

import hashlib
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


def specialised(template: str, stem: str, **names: object) -> Function:
    """A C function made for one layer's numbers; its name ends in a digest of its text, so equal ones are shared."""
    digest = hashlib.sha256(function(template, stem, **names).text.encode()).hexdigest()[:8]
    return function(template, f"{stem}_{digest}", **names)


def helper(file: str) -> Function:
    """A function of `kernels/common/<file>.c.j2`, which is named `midge_<file>`."""
    return Function(f"midge_{file}", render(f"common/{file}.c.j2").strip() + "\n")


def scale_helper(rounding: Rounding) -> Function:
    """The function that scales an accumulator by a Q31 multiplier and a shift (docs/numerics.md)."""
    return helper(f"scale_{rounding.value}")


def c_offset(offset: int) -> str:
    """What adds a constant to the expression before it: ` + 3`, ` - 5`, or nothing."""
    return f" {'+' if offset > 0 else '-'} {abs(offset)}" if offset else ""


def c_float(value: float | np.floating) -> str:
    """A float32 as an exact C99 literal: `6.0f`, `0x1.99999ap-5f`."""
    number = np.float32(value)
    if np.isinf(number):
        return "(-1.0f / 0.0f)" if number < 0 else "(1.0f / 0.0f)"
    if number == np.rint(number) and np.abs(number) < 1000:
        return f"{float(number)}f"
    mantissa, exponent = float(number).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}f"
