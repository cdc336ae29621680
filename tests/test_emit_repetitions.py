"""Tables of actions with repetitions: the same actions, and fewer entries."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkMaker

import midge
from midge.emit.repetitions import folded

MARK = 99


def unfolded(codes: list[int]) -> list[int]:
    """What the emitted loop makes of a table."""
    done: list[int] = []
    at = repeated = 0
    while at < len(codes):
        if codes[at] != MARK:
            done.append(codes[at])
            at += 1
        elif repeated < codes[at + 2]:
            repeated += 1
            at -= codes[at + 1]
        else:
            repeated = 0
            at += 3
    return done


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(1, 12)), max_size=8))
def test_a_folded_sequence_unfolds_to_itself(parts: list[tuple[list[int], int]]) -> None:
    codes = [code for block, times in parts for code in block * times]
    short = folded(codes, MARK)
    assert unfolded(short) == codes
    assert len(short) <= len(codes)


def test_rounds_of_rows_are_written_once() -> None:
    assert folded([7, *[0, 0, 1, 2] * 500, 8], MARK) == [7, 0, 0, 1, 2, MARK, 4, 499, 8]


def test_a_tall_network_has_a_short_order_and_stays_exact() -> None:
    """Rows that interleave thousands of times, whole frames and pushed rows."""
    maker = NetworkMaker(5, 3000, 1, 2)
    x = maker.conv(maker.input, 3, (5, 1))
    x = maker.conv(x, 3, (3, 1), stride=2)
    graph = maker.finish(maker.pool(x, (3, 1), 3, average=False))
    for options in ({"optimize": "latency"}, {"optimize": "ram"}, {"optimize": "ram", "input_by": "frame"}):
        program = midge.compile(graph, core="cortex-m4", **options)
        assert program.verify(samples=1).mismatches == 0
        assert program.run().flash.total < 6000, options
