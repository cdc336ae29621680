"""Kernels of reduce, one file for each instruction set."""
