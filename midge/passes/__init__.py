"""Rewrites of the Graph between import and planning.

Each file holds one pass: a pure function `run(graph, board, options) -> Graph`; `legal` says why a place can't be
rewritten. `pipelines.py` lists their order.
"""

from midge.passes.options import PassOptions
from midge.passes.pipelines import run_passes

__all__ = ["PassOptions", "run_passes"]
