"""Kernels of lstm, one file for each instruction set."""
