"""Probing frozen encoders: how well small classifiers predict labels from latents."""
