"""Kernels of logistic, one file for each instruction set."""
