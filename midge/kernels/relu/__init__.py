"""Kernels of relu, one file for each instruction set."""
