"""Cycles from block counts: instruction classes (classify.py) times the core's `[timing]` table (docs/timing.md)."""

from midge.emulate.timing.cost import Cost, cost
from midge.emulate.timing.pipeline import Pipeline

__all__ = ["Cost", "Pipeline", "cost"]
