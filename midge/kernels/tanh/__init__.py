"""Kernels of tanh, one file for each instruction set."""
