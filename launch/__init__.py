"""Starting preparations, runs and evaluations on one machine or a cluster."""
