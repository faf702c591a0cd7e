"""Reproducing a paper: from a list of runs to small result files, and from these to tables."""
