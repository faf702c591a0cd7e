"""Configuration of the world model task."""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, NotNegative, Positive, Share, limited
from pipeline.world_models.settings import (
    GridModelConfig,
    HomeomorphicVAEConfig,
    WorldModelSettings,
)


@dataclass(frozen=True)
@limited
class ContrastiveConfig:
    """The paper's loss: `hinge` is the energy up to which negatives are pushed away, `sigma` the
    length scale of energies, `num_negatives` the number of negatives of a record. `change_weight`
    is the weight of one more negative, a record's own next state: unlike other records, it does not
    differ in what no action changes. `same_episode_share` is the share of negatives that are
    other states of the record's own episode, as far as the batch has some: for a dataset of
    episodes with many more steps than one. `hinge_per_object` pushes each object's part of the
    latent away and not the latent as a whole, so that no single object can satisfy the hinge; own
    next states are then pushed away in the part of the object that the action moves.
    `variant_weight` times the share of S's outputs that a learned mask selects is added, so that
    the group acts on no more outputs than necessary."""

    name: Literal["contrastive"] = "contrastive"
    hinge: Positive = 1.0
    sigma: Positive = 0.5
    num_negatives: Count = 1
    change_weight: NotNegative = 0.0
    variant_weight: NotNegative = 0.0
    same_episode_share: Share = 0.0
    hinge_per_object: bool = False


@dataclass(frozen=True)
@limited
class VariationalConfig:
    """Reconstruction and a KL divergence with weight `beta`, without actions (for the VAE)."""

    name: Literal["variational"]
    beta: NotNegative = 1.0


@dataclass(frozen=True)
class WorldModelConfig:
    """The networks of a domain and their loss."""

    name: Literal["world_model"]
    model: WorldModelSettings
    loss: ContrastiveConfig | VariationalConfig = ContrastiveConfig()

    def __post_init__(self) -> None:
        is_vae = isinstance(self.model, HomeomorphicVAEConfig)
        if is_vae != isinstance(self.loss, VariationalConfig):
            allowed = "variational" if is_vae else "contrastive"
            raise ValueError(
                f"loss.name={self.loss.name} does not train model.name={self.model.name};"
                f" allowed: {allowed}"
            )
        has_weight = isinstance(self.loss, ContrastiveConfig) and self.loss.variant_weight > 0
        if has_weight and getattr(self.model, "mask", None) is None:
            raise ValueError("loss.variant_weight has no effect without model.mask")
        is_each = isinstance(self.loss, ContrastiveConfig) and self.loss.hinge_per_object
        if is_each and not isinstance(self.model, GridModelConfig):
            raise ValueError(
                f"loss.hinge_per_object has no effect with model.name={self.model.name}, whose"
                " latent is not made of objects"
            )
