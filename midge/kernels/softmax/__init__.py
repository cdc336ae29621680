"""Kernels of softmax, one file for each instruction set."""
