"""Kernels of cast, one file for each instruction set."""
