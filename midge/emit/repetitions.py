"""Sequences of codes that repeat themselves, as schedules do row after row, with each repetition written once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MARK_ENTRIES = 3
_LONGEST = 255
"""Codes of a repetition, at most."""


def folded(codes: Sequence[int], mark: int) -> list[int]:
    """The sequence with `mark, n, times` where the n codes before it come so many times more.

    A repetition holds no other. The one that saves most is taken first, then those before and behind it. `mark` is none
    of the codes.
    """
    done: list[int] = []
    waiting = [(np.asarray(codes, np.int64), 1)]
    while waiting:
        part, times = waiting.pop()
        found = _best(part) if times == 1 else None
        if found is not None:
            begin, length, count = found
            middle = begin + length
            waiting += [(part[begin + length * count :], 1), (part[begin:middle], count), (part[:begin], 1)]
            continue
        done += part.tolist()
        if times > 1:
            done += [mark, len(part), times - 1]
    return done


def _best(codes: np.ndarray) -> tuple[int, int, int] | None:
    """Where the repetition begins that saves most, how many codes it has, and how often they come."""
    best, most = None, 0
    for length in range(1, min(len(codes) // 2, _LONGEST) + 1):
        changes = np.flatnonzero(codes[length:] != codes[:-length])
        ends = np.append(changes, len(codes) - length)
        begins = np.append(0, changes + 1)
        equal = ends - begins
        longest = int(np.argmax(equal))
        more = int(equal[longest]) // length
        if more * length - _MARK_ENTRIES > most:
            best, most = (int(begins[longest]), length, more + 1), more * length - _MARK_ENTRIES
    return best
