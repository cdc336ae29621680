"""Kernels of prelu, one file for each instruction set."""
