"""Pictures of a latent action model, as PNG files in the run directory."""

from pipeline.measuring import picture_grid
from pipeline.methods.latent_action.pictures.elements import orbit_records, predict, write_orbits
from pipeline.methods.latent_action.pictures.write import write_pictures

__all__ = ["orbit_records", "picture_grid", "predict", "write_orbits", "write_pictures"]
