"""Kernels of leaky_relu, one file for each instruction set."""
