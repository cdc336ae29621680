"""Kernels of pad, one file for each instruction set."""
