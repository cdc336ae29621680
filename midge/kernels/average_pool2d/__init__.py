"""Kernels of average_pool2d, one file for each instruction set."""
