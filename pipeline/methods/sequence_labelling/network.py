"""A fully connected layer that may come to commute with shifts, and what follows it.

The first layer has no activation: with convolutions behind it, which commute with shifts
exactly, it plays the symmetric embedding network.
"""

from itertools import pairwise

import torch
from torch import nn

from orbit.core.groups import Group
from orbit.core.store.manifest import FrameSpec
from pipeline.methods.sequence_labelling.settings import (
    ConvolutionalConfig,
    FullyConnectedConfig,
)


class SequenceLabeller(nn.Module):
    """Logits of the labels of each place of sequences, which are frames (B, 1, 1, L).

    `first` is the first layer, `rest` maps its outputs (B, L) to logits (B, L).
    """

    def __init__(
        self, config: FullyConnectedConfig | ConvolutionalConfig, group: Group, frames: FrameSpec
    ) -> None:
        super().__init__()
        if frames.shape[:2] != (1, 1) or len(frames.shape) != 3:
            raise ValueError(
                f"task.name=sequence_labelling needs sequences (1, 1, L), not {frames.shape}"
            )
        length = frames.shape[2]
        self.name, self.group, self.frames = config.name, group, frames
        self._scale, self._shift = frames.loading()
        self.first = nn.Linear(length, length)
        if isinstance(config, ConvolutionalConfig):
            self.rest = cyclic_convolutions(config)
        else:
            self.rest = linear_layers(length, config.num_layers)

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Stored values to the loaded range, float32."""
        return frames.to(torch.float32) * self._scale + self._shift

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Logits (B, L) of normalised frames (B, 1, 1, L)."""
        logits: torch.Tensor = self.rest(self.first(sequences.flatten(1)))
        return logits


def linear_layers(length: int, num_layers: int) -> nn.Sequential:
    """ReLU and a linear layer, `num_layers` times."""
    layers: list[nn.Module] = []
    for _ in range(num_layers):
        layers += [nn.ReLU(), nn.Linear(length, length)]
    return nn.Sequential(*layers)


def cyclic_convolutions(config: ConvolutionalConfig) -> nn.Sequential:
    """Convolutions around the sequence's end, ReLU between them: (B, L) to (B, L)."""
    sizes = [1, *[config.channels] * (config.num_layers - 1), 1]
    layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))]
    for index, (num_in, num_out) in enumerate(pairwise(sizes)):
        if index > 0:
            layers.append(nn.ReLU())
        padding = config.kernel // 2
        layers.append(
            nn.Conv1d(num_in, num_out, config.kernel, padding=padding, padding_mode="circular")
        )
    return nn.Sequential(*layers, nn.Flatten(1))
