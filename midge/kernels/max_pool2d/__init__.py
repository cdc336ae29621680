"""Kernels of max_pool2d, one file for each instruction set."""
