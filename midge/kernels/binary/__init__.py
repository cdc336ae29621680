"""Kernels of binary, one file for each instruction set."""
