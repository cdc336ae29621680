"""Code put in order for a core that issues two instructions at once: what must stay, and what moves."""

from __future__ import annotations

import itertools

import pytest

from midge.kernels.base import Function
from midge.kernels.dual_issue import alternated

GROUPED = [
    "ldr r3, [r1, #4]", "ldr r2, [r1], #8", "ldr r10, [r0, #0]", "ldr r11, [r0, #16]",
    "smlad r5, r11, r2, r5", "smlad r8, r11, r3, r8", "smlad r4, r10, r2, r4", "smlad r7, r10, r3, r7",
]  # fmt: skip


def ordered(lines: list[str]) -> list[str]:
    function = alternated(Function("f", "".join(f"    {line}\n" for line in lines), "void f(void)"))
    return [line.strip() for line in function.text.splitlines()]


def run(lines: list[str]) -> dict[str, object]:
    """What registers and memory hold after the lines, as terms; `ldr`, `str` and products only."""
    held: dict[str, object] = {}
    stored: list[object] = []

    def value(name: str) -> object:
        return held.get(name, name)

    for line in lines:
        mnemonic, rest = line.split(" ", 1)
        names = [part.strip("[] ") for part in rest.split(",")]
        if mnemonic == "str":
            stored.append((value(names[0]), value(names[1]), names[2]))
        elif mnemonic == "ldr":
            offset = "0" if rest.split(",")[1].endswith("]") else names[2]
            base = value(names[1])
            held[names[0]] = ("load", base, offset, len(stored))
            if offset == "0" and len(names) > 2:
                held[names[1]] = ("add", base, names[2])
        else:
            held[names[0]] = (mnemonic, *map(value, names[1:]))
    return {**held, "memory": tuple(stored)}


def neighbours(lines: list[str]) -> int:
    """How often a load comes right after a load."""
    return sum(a.startswith("ldr") and b.startswith("ldr") for a, b in itertools.pairwise(lines))


def test_loads_go_beside_products() -> None:
    result = ordered(GROUPED * 3)
    assert sorted(result) == sorted(GROUPED * 3)
    assert run(result) == run(GROUPED * 3)
    assert neighbours(result) < neighbours(GROUPED * 3)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["smlad r4, r5, r6, r4", "ldr r5, [r0, #0]", "smlad r7, r5, r6, r7"], id="read before written"),
        pytest.param(["ldr r5, [r0], #4", "ldr r6, [r0, #0]", "smuad r7, r5, r6"], id="advanced base"),
        pytest.param(["smuad r4, r5, r6", "str r4, [sp, #4]", "ldr r5, [sp, #4]"], id="stored, then loaded"),
        pytest.param(["ldr r5, [sp, #4]", "smuad r6, r5, r5", "str r6, [sp, #4]", "ldr r5, [r0, #0]"], id="store late"),
        pytest.param(["smuad r4, r5, r6", "smuad r4, r7, r8", "str r4, [sp, #0]"], id="written twice"),
    ],
)
def test_results_stay(lines: list[str]) -> None:
    for repeated in (lines, lines * 4):
        assert run(ordered(repeated)) == run(repeated)


def test_what_is_not_known_ends_a_run() -> None:
    lines = ["smuad r4, r5, r6", "subs r1, #1", "ldr r5, [r0, #0]", "bne .L0", "ldr r6, [r0, #4]"]
    assert ordered(lines) == lines


def test_c_stays() -> None:
    function = Function("f", "static void f(void)\n{\n    int x;\n}\n")
    assert alternated(function) is function
