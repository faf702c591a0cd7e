"""Evaluating checkpoints of many runs, while they train or afterwards."""
