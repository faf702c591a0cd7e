"""The trainer: steps, checkpoints, logs, signals and ranks. It knows no task by name."""
