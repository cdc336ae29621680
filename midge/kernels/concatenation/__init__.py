"""Kernels of concatenation, one file for each instruction set."""
