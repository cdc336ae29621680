"""Kernels of conv2d, one file for each instruction set."""
