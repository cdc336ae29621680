"""Kernels of mul, one file for each instruction set."""
