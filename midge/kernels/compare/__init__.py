"""Kernels of compare, one file for each instruction set."""
