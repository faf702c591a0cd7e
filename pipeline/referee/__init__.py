"""Measures that all methods with a latent share, on views of the same object."""
