"""Kernels of take, one file for each instruction set."""
