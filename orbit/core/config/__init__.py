"""Configuration: hydra composition, strict frozen dataclasses, command-line programs."""
