"""Kernels of rearrange, one file for each instruction set."""
