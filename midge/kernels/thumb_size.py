"""How many bytes Thumb-2 instructions take: code that is to fit an instruction cache is written by it."""

from __future__ import annotations

import re

_LOW = r"r[0-7]"
_NARROW = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(ldr|str) {_LOW}, \[sp(, #\d{{1,3}})?\]",
        rf"(ldr|str)[bh]? {_LOW}, \[{_LOW}, {_LOW}\]",
        rf"(ldr|str) {_LOW}, \[{_LOW}(, #(\d|\d\d|1[01]\d|12[0-4]))?\]",
        rf"strb {_LOW}, \[{_LOW}(, #([0-9]|[12]\d|3[01]))?\]",
        rf"strh {_LOW}, \[{_LOW}(, #([0-9]|[1-5]\d|6[0-2]))?\]",
        rf"(ldmia|stmia) {_LOW}!, \{{(, )?({_LOW}(, )?)+\}}",
        r"mov \w+, (r\d+|lr)",
        r"(add|cmp) \w+, (r\d+|lr)",
        rf"(adds|subs|cmp|movs) {_LOW}, #\d{{1,3}}",
        rf"(ands|adds|subs) {_LOW}, {_LOW}",
        rf"(adds|subs) {_LOW}, {_LOW}, {_LOW}",
        rf"lsls {_LOW}, {_LOW}, #\d+",
    )
)


def thumb_bytes(instruction: str) -> int:
    """2 where the instruction certainly has a narrow form that an assembler takes; else 4, as of branches."""
    return 2 if any(pattern.fullmatch(instruction.strip()) for pattern in _NARROW) else 4
