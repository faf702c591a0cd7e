"""Metrics of images and latents, as pure functions of tensors, independent of runs and datasets."""
