"""Configuration of the latent action task."""

from dataclasses import dataclass
from typing import Literal

from pipeline.models.settings import (
    AutoencoderConfig,
    LatentActionSettings,
    NetworkConfig,
    SpatialActionConfig,
)


@dataclass(frozen=True)
class LossWeights:
    """Weights of L_recon, L_inv (invariance) and L_const (consistency); the paper has 1, 1, 1."""

    recon: float = 1.0
    invariance: float = 1.0
    consistency: float = 1.0

    def __post_init__(self) -> None:
        for name in ("recon", "invariance", "consistency"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.recon == 0:
            raise ValueError("recon=0 leaves nothing to train the decoder with")


@dataclass(frozen=True)
class LatentActionConfig:
    """Network, action, mask threshold, output and loss weights.

    `output=auto` is a Tanh, or logits with cross-entropy where the dataset is binary.
    """

    name: Literal["latent_action"]
    tau: float = 0.5
    model: NetworkConfig = AutoencoderConfig()
    action: LatentActionSettings = SpatialActionConfig()
    output: Literal["auto", "tanh", "logits"] = "auto"
    weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if not 0 < self.tau < 1:
            raise ValueError(f"tau={self.tau} must lie between 0 and 1")
