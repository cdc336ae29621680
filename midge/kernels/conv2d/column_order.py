"""Rows in columns: column by column the pixels of all rows of taps, so that a window is one run of values.

    rows   a0 a1 a2 …      columns   a0 b0 c0 | a1 b1 c1 | a2 b2 c2 …
           b0 b1 b2 …
           c0 c1 c2 …

Here is which values lie where; `columns` writes the code that puts them there. A kernel of one row needs nothing but
the widening: then its row counts as one pixel. Values are widened four at a time, two even ones and two odd ones to a
word, and stay in that order where pixels begin with a group.
"""

from __future__ import annotations

import enum

from midge.kernels.window import Window

GROUP = 4
"""Values that are widened at once: the last ones of a pixel may go past it, where the next pixel is written later."""
_MOST_VALUES = 1 << 16
_MOST_TRIPLE_ROWS = 3


class Kind(enum.Enum):
    """What puts rows in columns."""

    ORDERED = "ordered"
    """Any channels, in their order."""
    SWAPPED = "swapped"
    """Any channels whose last group is whole or of three: even ones of a group before odd ones."""
    TRIPLE = "triple"
    """Three channels, up to three rows."""
    SINGLE = "single"
    """One channel: four columns at a time."""


def kind_of(window: Window) -> Kind:
    """How the rows of a convolution are put in columns."""
    channels = window.x.channels
    if window.kh > 1 and channels == 1 and 6 * column_values(window) < 1 << 12:
        return Kind.SINGLE
    if window.kh > 1 and channels == 3 and window.kh <= _MOST_TRIPLE_ROWS:
        return Kind.TRIPLE
    is_swapped = channels % GROUP == 0 or (window.kh > 1 and channels % GROUP == 3)
    return Kind.SWAPPED if is_swapped else Kind.ORDERED


def channel_order(window: Window) -> list[int]:
    """The channels of a pixel, as they lie."""
    channels = window.x.channels
    if kind_of(window) in (Kind.ORDERED, Kind.SINGLE):
        return list(range(channels))
    swapped = (first + place for first in range(0, channels, GROUP) for place in (0, 2, 1, 3))
    return [channel for channel in swapped if channel < channels]


def column_values(window: Window) -> int:
    """Values of a column: one pixel of each row of taps, one more where windows would begin within a word."""
    values = window.kh * window.x.channels
    return values + (window.kh > 1 and values * window.stride_w % 2)


def refuse(window: Window) -> str | None:
    """Why rows can't be put in columns."""
    too_long = _columns(window) * window.x.channels + GROUP >= _MOST_VALUES
    return "its rows are too long" if too_long else None


def scratch_bytes(window: Window) -> int:
    """All columns, what a window reads past the last one, and what a group writes past it; whole words."""
    columns = _columns(window)
    if kind_of(window) is Kind.SINGLE:
        columns = -(-columns // GROUP) * GROUP
    return -(-2 * (columns * column_values(window) + GROUP) // 4) * 4


def arguments(window: Window) -> tuple[int, int]:
    """`columns` and `sizes` of the function."""
    columns, sizes = _columns(window), window.kh << 16 | window.x.channels
    if window.kh == 1:
        return 1, 1 << 16 | columns * window.x.channels
    return (-(-columns // GROUP) if kind_of(window) is Kind.SINGLE else columns), sizes


def padding_bytes(window: Window) -> int:
    """That a column is longer than its values."""
    return 2 * (column_values(window) - window.kh * window.x.channels)


def _columns(window: Window) -> int:
    """Of a padded row."""
    return window.padding.left + window.x.columns + window.right
