"""Preparation of paired datasets: sources of images, recipes for pairs, and the pair store."""
