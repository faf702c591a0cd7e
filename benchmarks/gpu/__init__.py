"""Whether a GPU computes what a CPU does, and how fast: one command, one budget of time."""
