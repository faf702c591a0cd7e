"""Preparing a dataset by several jobs: what was asked for, tasks, orders, submission."""
