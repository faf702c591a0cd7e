"""Worlds: states, actions and their pictures, simulated for many episodes at once."""
