"""Cycles from block counts: instruction classes (classify.py) times the core's `[timing]` table (docs/timing.md)."""

from midge.emulate.timing.cost import Cost, Decoded, cost, decode_blocks
from midge.emulate.timing.pipeline import Pipeline

__all__ = ["Cost", "Decoded", "Pipeline", "cost", "decode_blocks"]
