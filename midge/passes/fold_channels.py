"""Remove the channels that cannot matter: constant whatever the input, or read by nobody.

    %a = conv2d %x  [.., 8], three filters of which are zero
    %y = conv2d %a                        →      %a = conv2d %x  [.., 5]
                                                 %y = conv2d %a  with what the three added in its bias

Keeps exact bits, for every input: `intervals.py` bounds each channel, `constant_channels.py` says where a constant
may become part of a bias (mind padding), `needed_channels.py` walks backwards from the outputs, `slice_channels.py`
cuts. Kept channels have the bounds and the readers they had, so one walk finds everything.
"""

from __future__ import annotations

from midge.ir.graph import Graph
from midge.passes.constant_channels import folding_of, refuse
from midge.passes.fold_report import report_of
from midge.passes.intervals import Intervals, intervals_of
from midge.passes.needed_channels import Foldings, Masks, needed_channels
from midge.passes.options import PassOptions
from midge.passes.slice_channels import slice_channels
from midge.targets.records import Board

__all__ = ["refuse", "run"]


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """The graph without the channels that cannot matter."""
    del board
    intervals = intervals_of(graph)
    foldings = {node.name: folding_of(graph, node, intervals) for node in graph.nodes}
    masks = needed_channels(graph, foldings)
    if options.explain is not None:
        _explain(graph, intervals, foldings, masks, options)
    if all(mask.all() for mask in masks.values()):
        return graph
    folded = slice_channels(graph, masks, foldings)
    if options.report is not None:
        options.report(report_of("fold_channels", graph, folded))
    return folded


def _explain(graph: Graph, intervals: Intervals, foldings: Foldings, masks: Masks, options: PassOptions) -> None:
    """Tell for each value why constant channels stay."""
    for node in graph.nodes:
        for name in node.outputs:
            if name not in intervals or name in graph.sinks:
                continue
            staying = (intervals[name].is_constant & masks[name]).nonzero()[0]
            if not staying.size:
                continue
            reasons = {
                refuse(graph, reader, foldings.get(reader.name), int(channel))
                for reader in graph.consumers(name) for channel in staying
            } - {None}  # fmt: skip
            own = f"{node.name} makes them from channels that others read"
            reason = "; ".join(sorted(filter(None, reasons))) or own
            options.refuse(f"fold_channels: {staying.size} constant channels of {name} stay, {reason}")
