"""A straightforward script in the style of the paper's: everything per sample, in Python.

Images are decoded and normalised one by one, pairs rotated one by one in the
dataset, latents one by one in the model, and the target branch is decoded too.
"""

import random
from collections.abc import Callable

import numpy as np
import torch
from hand_loop import make_model
from measuring import Lap, counted, endless
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

from orbit.core.store.manifest import Manifest
from pipeline.models.latent_action import LatentActionModel, LatentParts


class GreyImages(Dataset[tuple[torch.Tensor, int]]):
    """Images (F, 1, H, W) one at a time, in the way of torchvision's MNIST."""

    def __init__(
        self, images: np.ndarray, transform: Callable[[Image.Image], torch.Tensor]
    ) -> None:
        self.data, self.transform = torch.from_numpy(images[:, 0]), transform
        self.targets = torch.zeros(len(images), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.data[index], int(self.targets[index])
        return self.transform(Image.fromarray(image.numpy())), label


class RotatedPairs(Dataset[tuple[torch.Tensor, torch.Tensor, float, int]]):
    """(image, image turned, angle in degrees, label), the angle drawn at every access."""

    def __init__(self, images: Dataset[tuple[torch.Tensor, int]], num: int) -> None:
        self.images, self.num = images, num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, float, int]:
        image, label = self.images[index]
        angle = snapped(random.uniform(0, 360))
        return image, torch.rot90(image, int(angle) // 90, (1, 2)), angle, label


def paper_lap(manifest: Manifest, sources: np.ndarray, batch: int, num_steps: int) -> Lap:
    """A lap of `num_steps` training steps on source images (F, 1, H, W) as stored."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    images = Subset(GreyImages(sources, transform), torch.randperm(len(sources)).tolist())
    pairs = RotatedPairs(images, len(images))
    batches = endless(DataLoader(pairs, batch_size=batch, shuffle=True, drop_last=True))
    model = make_model(manifest)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []

    def step() -> int:
        source, target, angles, _ = next(batches)
        optimizer.zero_grad()
        loss = loss_of(model, source, target, angles)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        return batch

    return counted(step, num_steps)


def loss_of(
    model: LatentActionModel, source: torch.Tensor, target: torch.Tensor, angles: torch.Tensor
) -> torch.Tensor:
    """Sum of the paper's three losses for normalised images and angles in degrees."""
    output, invariant, _, moved = forward(model, source, angles)
    with torch.no_grad():
        _, wanted_invariant, wanted_variant, _ = forward(model, target, angles)
    return (
        mse_loss(output, target)
        + mse_loss(invariant, wanted_invariant)
        + mse_loss(moved, wanted_variant)
    )


def forward(
    model: LatentActionModel, images: torch.Tensor, angles: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output, invariant part, variant part, and variant part after the action."""
    parts = model.encode(images)
    moved = rotated_one_by_one(parts.variant, angles)
    output = model.decode(LatentParts(moved, parts.invariant))
    return output, parts.invariant, parts.variant, moved


def rotated_one_by_one(latents: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Each latent (C, h, w) turned by its angle in degrees, in a Python loop."""
    turned = []
    for index in range(len(latents)):
        angle = snapped(angles[index].item())
        turned.append(torch.rot90(latents[index], int(angle) // 90, (1, 2)))
    return torch.stack(turned)


def snapped(angle: float) -> float:
    """The nearest of 0, 90, 180 and 270 degrees."""
    return round(angle / 90) % 4 * 90.0
