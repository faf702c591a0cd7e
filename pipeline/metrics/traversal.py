"""Following one axis through a whole turn: hits among the poses on the way (Park et al., "TH").

A traversal has K poses, the last of them the first one again. From the latent of its start the
model predicts K steps, each from the prediction before. Step k is a hit if pose k alone is
nearest to it among all K encoded poses.
"""

import torch

from pipeline.metrics.ranking import squared_distances


def traversal_hits(poses: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Whether each step is a hit, (T, K) bool, for latents (T, K, ...) of T traversals.

    `poses` are the encoded poses after 1 to K steps, `predicted` the rollouts.
    """
    if poses.shape != predicted.shape or poses.ndim < 3:
        raise ValueError(
            f"poses {tuple(poses.shape)} and predictions {tuple(predicted.shape)} do not pair up"
        )
    hits = torch.empty(poses.shape[:2], dtype=torch.bool, device=poses.device)
    for number, (candidates, steps) in enumerate(zip(poses, predicted, strict=True)):
        components = candidates.flatten(1).double().T.contiguous()
        distance = squared_distances(steps.flatten(1).double(), components)
        own = distance.diagonal()[:, None]
        hits[number] = (distance <= own).sum(1) == 1
    return hits
