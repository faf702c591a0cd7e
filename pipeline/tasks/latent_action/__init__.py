"""Latent group actions (Swarnali, Zhang, Hossain): objective, evaluation, pictures."""
