"""Kernels of quantize, one file for each instruction set."""
