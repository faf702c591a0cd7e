"""Checking a dataset against its manifest and what its records claim."""
