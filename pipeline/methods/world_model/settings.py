"""Configuration of the world model task."""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, NotNegative, Positive, limited
from pipeline.world_models.settings import HomeomorphicVAEConfig, WorldModelSettings


@dataclass(frozen=True)
@limited
class ContrastiveConfig:
    """The paper's loss: `hinge` is the energy up to which negatives are pushed away,
    `sigma` the length that energies are measured by, `num_negatives` those of a record.
    `change_weight` is that of one negative more, a record's own next state: what no action
    changes tells the others apart, but not those two.
    `variant_weight` times the share of S's outputs that a learned mask selects is added, so that
    the group acts on no more than it must."""

    name: Literal["contrastive"] = "contrastive"
    hinge: Positive = 1.0
    sigma: Positive = 0.5
    num_negatives: Count = 1
    change_weight: NotNegative = 0.0
    variant_weight: NotNegative = 0.0


@dataclass(frozen=True)
@limited
class VariationalConfig:
    """Reconstruction and a KL divergence of weight `beta`, without actions (the VAE's)."""

    name: Literal["variational"]
    beta: NotNegative = 1.0


@dataclass(frozen=True)
class WorldModelConfig:
    """A domain's networks and what trains them."""

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
