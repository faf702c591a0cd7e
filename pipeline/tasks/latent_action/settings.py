"""Configuration of the latent action task."""

from dataclasses import dataclass
from typing import Literal

from pipeline.models.settings import (
    AutoencoderConfig,
    FixedMaskConfig,
    LatentActionSettings,
    LearnedMaskConfig,
    MaskConfig,
    NetworkConfig,
    SpatialActionConfig,
)

DEFAULT_TAU = 0.5
Reconstruct = Literal["action", "source", "target"]


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
    """Network, action, mask, its threshold, output and loss weights.

    `output=auto` is a Tanh, or logits with cross-entropy where the dataset is binary.
    `reconstruct=action` decodes the moved latent of x into g x (the paper's). The controls
    do without the action: `source` decodes E(x) into x, `target` E(g x) into g x.

    `target_gradient` takes the stop-gradient out of the latent losses. An action that
    interpolates blurs the latent; against a target that is held fixed it pays to make
    all latents larger, without end, which the target's own gradient undoes.
    """

    name: Literal["latent_action"]
    tau: float = DEFAULT_TAU
    model: NetworkConfig = AutoencoderConfig()
    action: LatentActionSettings = SpatialActionConfig()
    output: Literal["auto", "tanh", "logits"] = "auto"
    mask: MaskConfig = LearnedMaskConfig()
    reconstruct: Reconstruct = "action"
    target_gradient: bool = False
    weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if not 0 < self.tau < 1:
            raise ValueError(f"tau={self.tau} must lie between 0 and 1")
        if isinstance(self.mask, FixedMaskConfig) and self.tau != DEFAULT_TAU:
            raise ValueError(f"tau={self.tau} has no effect with mask.name=fixed")
        weights = self.weights
        if self.target_gradient and (weights.invariance, weights.consistency) == (0, 0):
            raise ValueError("target_gradient=true has no effect without latent losses")
        if self.reconstruct != "action" and (weights.invariance, weights.consistency) != (0, 0):
            raise ValueError(
                f"reconstruct={self.reconstruct} knows no action: set weights.invariance=0 and"
                " weights.consistency=0"
            )
