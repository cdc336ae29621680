"""Kernels of dynamic_update_slice, one file for each instruction set."""
