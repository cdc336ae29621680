"""Kernels of depthwise_conv2d, one file for each instruction set."""
