"""Worlds: states, actions and what one sees of them, simulated for many episodes at once."""
