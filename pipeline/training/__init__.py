"""The trainer: steps, checkpoints, logs, signals and ranks. It knows no method by name."""
