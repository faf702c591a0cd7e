"""Configuration of the latent operator task."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, NotNegative, at_least, limited


@dataclass(frozen=True)
@limited
class LatentOperatorConfig:
    """A linear encoder, an operator P that acts on its latent, and a classifier.

    `operator=fixed` shifts blocks of `latent_size` numbers cyclically, `learned` learns a matrix,
    `none` is the same network without an operator. The classifier has `hidden` units and
    `num_classes` classes: labels from 0. `alignment` weighs the squared distance of two views in
    pose e against the cross-entropy. Poses are inferred with `num_references` images in known
    poses, of which the `num_neighbours` nearest vote.
    """

    name: Literal["latent_operator"]
    operator: Literal["fixed", "learned", "none"] = "fixed"
    latent_size: Count = 70
    hidden: Count = 70
    num_classes: Annotated[int, at_least(2)] = 10
    alignment: NotNegative = 1.0
    num_references: Count = 2000
    num_neighbours: Count = 10

    def __post_init__(self) -> None:
        if self.operator == "none" and (self.num_references, self.num_neighbours) != (2000, 10):
            raise ValueError("num_references and num_neighbours have no effect with operator=none")
