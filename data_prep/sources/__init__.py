"""Where images come from before they are paired."""

from data_prep.sources.interface import ImageSource, ObjectSource
from data_prep.sources.opening import is_object_source, open_object_source, open_source

__all__ = [
    "ImageSource",
    "ObjectSource",
    "is_object_source",
    "open_object_source",
    "open_source",
]
