"""Kernels of batch_matmul, one file for each instruction set."""
