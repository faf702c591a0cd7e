"""Probing frozen encoders: how well small classifiers read labels from latents."""
