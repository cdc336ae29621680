"""Kernels of svdf, one file for each instruction set."""
