"""Measures of latents, as pure functions of tensors: nothing here knows of runs or datasets."""
