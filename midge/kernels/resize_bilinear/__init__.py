"""Kernels of resize_bilinear, one file for each instruction set."""
