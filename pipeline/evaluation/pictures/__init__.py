"""Pictures of what a model does, as PNG files in the run directory."""

from pipeline.evaluation.pictures.grid import picture_grid
from pipeline.evaluation.pictures.orbits import orbit_records, write_orbits
from pipeline.evaluation.pictures.prediction import predict
from pipeline.evaluation.pictures.write import write_pictures

__all__ = ["orbit_records", "picture_grid", "predict", "write_orbits", "write_pictures"]
