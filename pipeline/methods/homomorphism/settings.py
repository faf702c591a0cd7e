"""Configuration of the homomorphism autoencoder."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, NotNegative, limited
from orbit.core.plugins import Open
from pipeline.models.settings import AutoencoderConfig, NetworkConfig

Network = Annotated[NetworkConfig, Open("networks")]


@dataclass(frozen=True)
@limited
class HomomorphismConfig:
    """The first `num_blocks` blocks of `block_size` numbers of the latent are moved, each by a
    matrix of its own; the other numbers of `model.vector_size` stay.

    A network of two layers of `hidden` units computes each block's matrix from an action vector.
    The loss predicts the images of `num_steps` actions in a row; with two, the second action is
    that of another pair of the batch. `latent` is the weight of its term in latents.
    """

    name: Literal["homomorphism"]
    num_blocks: Count = 16
    block_size: Count = 2
    hidden: Count = 128
    num_steps: Literal[1, 2] = 2
    latent: NotNegative = 400.0
    model: Network = AutoencoderConfig(vector_size=64)

    def __post_init__(self) -> None:
        size = getattr(self.model, "vector_size", None)
        moved = self.num_blocks * self.block_size
        if size is None or size < moved:
            raise ValueError(
                f"model.vector_size={size} must be at least num_blocks x block_size = {moved}"
            )
