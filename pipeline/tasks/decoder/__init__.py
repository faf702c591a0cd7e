"""Decoders of frozen world models: pictures of what a latent means, for people to look at."""
