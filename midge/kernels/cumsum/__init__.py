"""Kernels of cumsum, one file for each instruction set."""
