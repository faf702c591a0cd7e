"""A paper's experiments: from a list of runs to small result files, and from those to tables."""
