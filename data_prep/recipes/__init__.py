"""Recipes: how a dataset is made from its source."""

from data_prep.recipes.make import make_recipe

__all__ = ["make_recipe"]
