"""Kernels of fully_connected, one file for each instruction set."""
