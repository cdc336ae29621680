"""Kernels of dequantize, one file for each instruction set."""
