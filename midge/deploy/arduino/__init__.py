"""An Arduino library with a self-test sketch."""
