"""Sweeps: from a configuration to named runs, and the choice of those to submit."""
