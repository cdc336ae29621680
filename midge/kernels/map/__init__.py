"""Kernels of map, one file for each instruction set."""
