"""Kernels of conv2d_hybrid, one file for each instruction set."""
