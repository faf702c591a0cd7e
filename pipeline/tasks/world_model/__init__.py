"""Equivariant world models (Park, Biza, Zhao, van de Meent, Walters): objectives and evaluation."""
