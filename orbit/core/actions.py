"""The meaning of the numbers of an action, as groups, worlds and manifests state it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ActionComponent:
    """One number of an action vector: its name, meaning, unit and range."""

    name: str
    meaning: str
    unit: str
    minimum: float
    maximum: float
