"""Checking a dataset against its manifest and recomputing its records."""
