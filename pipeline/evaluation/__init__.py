"""Evaluating checkpoints of a run: metrics as JSON, pictures as PNG."""
