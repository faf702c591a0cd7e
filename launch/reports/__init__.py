"""What many runs amount to, as tables."""
