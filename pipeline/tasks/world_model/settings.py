"""Configuration of the world model task."""

from dataclasses import dataclass
from typing import Literal

from pipeline.world_models.settings import HomeomorphicVAEConfig, WorldModelSettings


@dataclass(frozen=True)
class ContrastiveConfig:
    """The paper's loss: `hinge` is the energy up to which negatives are pushed away,
    `sigma` the length that energies are measured by, `num_negatives` those of a record.
    With a learned mask over S's outputs, `variant_weight` times the share that it selects is
    added, so that the group acts on no more than it must; and a negative is, of `num_candidates`
    other records, the one whose invariant part is nearest, so that what no action changes does
    not tell states apart for the part that actions do change."""

    name: Literal["contrastive"] = "contrastive"
    hinge: float = 1.0
    sigma: float = 0.5
    num_negatives: int = 1
    num_candidates: int = 1
    variant_weight: float = 0.0

    def __post_init__(self) -> None:
        for key in ("hinge", "sigma"):
            if getattr(self, key) <= 0:
                raise ValueError(f"{key}={getattr(self, key)} must be positive")
        if self.variant_weight < 0:
            raise ValueError(f"variant_weight={self.variant_weight} must not be negative")
        for key in ("num_negatives", "num_candidates"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)} must be at least 1")


@dataclass(frozen=True)
class VariationalConfig:
    """Reconstruction and a KL divergence of weight `beta`, without actions (the VAE's)."""

    name: Literal["variational"]
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"beta={self.beta} must not be negative")


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
        if isinstance(self.loss, ContrastiveConfig) and getattr(self.model, "mask", None) is None:
            for key, unused in (("variant_weight", 0.0), ("num_candidates", 1)):
                if getattr(self.loss, key) != unused:
                    raise ValueError(f"loss.{key} has no effect without model.mask")
