"""Names in emitted code."""

from __future__ import annotations

import re

_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while main
    """.split()  # noqa: SIM905
)


def c_identifier(text: str) -> str:
    """`text` as a C identifier in lower case: `Person Detect-96` becomes `person_detect_96`."""
    name = re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_")
    if not name or name[0].isdigit() or name in _KEYWORDS:
        name = f"net_{name}".rstrip("_")
    return name
