"""Kernels of l2_normalization, one file for each instruction set."""
