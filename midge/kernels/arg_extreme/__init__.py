"""Kernels of arg_extreme, one file for each instruction set."""
