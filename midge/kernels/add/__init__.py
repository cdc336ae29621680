"""Kernels of add, one file for each instruction set."""
