"""Configuration of the world model task."""

from dataclasses import dataclass
from typing import Literal

from pipeline.world_models.settings import HomeomorphicVAEConfig, WorldModelSettings


@dataclass(frozen=True)
class ContrastiveConfig:
    """The paper's loss: `hinge` is the energy up to which negatives are pushed away,
    `sigma` the length that energies are measured by, `num_negatives` those of a record."""

    name: Literal["contrastive"] = "contrastive"
    hinge: float = 1.0
    sigma: float = 0.5
    num_negatives: int = 1

    def __post_init__(self) -> None:
        for key in ("hinge", "sigma"):
            if getattr(self, key) <= 0:
                raise ValueError(f"{key}={getattr(self, key)} must be positive")
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives={self.num_negatives} must be at least 1")


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
