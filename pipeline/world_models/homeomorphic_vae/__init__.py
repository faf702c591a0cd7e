"""An autoencoder whose latent is a rotation, trained on single frames (Falorsi et al.)."""
