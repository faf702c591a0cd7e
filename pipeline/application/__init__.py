"""A trained model applied to a user's own images and volumes."""
