"""Kernels of mean, one file for each instruction set."""
