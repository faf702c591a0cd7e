"""A jointed arm under two torques, seen from above."""
