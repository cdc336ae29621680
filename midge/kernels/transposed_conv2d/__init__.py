"""Kernels of transposed_conv2d, one file for each instruction set."""
