"""Compression: from a float graph to a smaller one (docs/quantization.md)."""
