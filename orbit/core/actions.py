"""What the numbers of an action mean, as groups, worlds and manifests say it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ActionComponent:
    """One number of an action vector: its name, meaning, unit and range."""

    name: str
    meaning: str
    unit: str
    minimum: float
    maximum: float
