"""Kernels of gather, one file for each instruction set."""
