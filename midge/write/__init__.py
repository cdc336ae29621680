"""Writers: a graph as a file that other runtimes read."""
