"""One file for each reference."""
