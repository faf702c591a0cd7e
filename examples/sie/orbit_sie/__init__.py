"""Split invariant-equivariant representations (SIE) for Orbit."""
