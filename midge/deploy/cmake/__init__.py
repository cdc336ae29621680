"""A CMake project: a library target, and a self-test for the computer and for the board."""
