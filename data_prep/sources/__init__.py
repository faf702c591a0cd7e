"""Where images come from before they are paired."""

from data_prep.sources.interface import (
    ImageSource,
    ObjectSource,
    ViewSource,
    open_object_source,
    open_source,
    open_view_source,
    what_is_brought,
)

__all__ = [
    "ImageSource",
    "ObjectSource",
    "ViewSource",
    "open_object_source",
    "open_source",
    "open_view_source",
    "what_is_brought",
]
