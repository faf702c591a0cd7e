"""Loggers: experiment trackers that get the metrics of a run in addition to its own files."""
