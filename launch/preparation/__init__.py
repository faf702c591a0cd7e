"""Preparing a dataset by several jobs: requests, tasks, orders, submission."""
