"""Readers of a user's files, one module for each format."""
