"""The tuner: measures a network's layers under all kernels on the emulated board (docs/tuning.md)."""

from __future__ import annotations

from midge.tune.settings import settings_of

__all__ = ["settings_of"]
