"""Kernels of copy, one file for each instruction set."""
