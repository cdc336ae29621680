"""Kernels of sub, one file for each instruction set."""
