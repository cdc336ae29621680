"""Kernels of select, one file for each instruction set."""
