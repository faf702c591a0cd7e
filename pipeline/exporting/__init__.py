"""A trained model as files that need nothing of this package."""
