"""Elements inferred from latents by nearest neighbours, and votes on a pose (Dinh and Deny).

A pair (x, g x) is explained by the candidate c for which c z(x) is nearest to z(g x). A view y of
an unknown image is moved by c^-1 for every candidate; references are latents of other images that
were moved back to pose e. The k nearest of all (candidate, reference) pairs vote for the pose.
"""

import torch

BLOCK_VALUES = 1 << 24


def nearest_candidates(moved: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The position of the nearest of K latents (K, D) for each target (V, D), (V,) int64.

    Of equally near ones the first counts.
    """
    moved, targets = moved.flatten(1).double(), targets.flatten(1).double()
    centre = moved.mean(0)
    moved, targets = moved - centre, targets - centre
    distance = moved.square().sum(1) - 2 * targets @ moved.T
    return distance.argmin(1)


def vote_on_poses(
    moved_back: torch.Tensor, references: torch.Tensor, num_neighbours: int
) -> torch.Tensor:
    """The candidate with most votes for each image, (N,) int64.

    `moved_back` (N, K, D) are latents of N images moved back by K candidates, `references` (R, D)
    latents in pose e. The `num_neighbours` nearest of the K R pairs vote; of candidates with
    equally many votes that of the nearest pair counts, or else the first. ValueError without
    references.
    """
    num, num_candidates = moved_back.shape[:2]
    if not len(references):
        raise ValueError("poses are voted on by references, and there are none")
    references = references.flatten(1)
    squares = references.square().sum(1)
    num_neighbours = min(num_neighbours, num_candidates * len(references))
    found = torch.empty(num, dtype=torch.int64, device=moved_back.device)
    rows = max(1, BLOCK_VALUES // (num_candidates * max(len(references), references.shape[1])))
    for first in range(0, num, rows):
        block = moved_back[first : first + rows].flatten(2)
        distance = block.square().sum(2, keepdim=True) + squares - 2 * block @ references.T
        nearest = distance.flatten(1).topk(num_neighbours, largest=False).indices
        candidate = nearest // len(references)
        votes = torch.zeros(len(block), num_candidates, device=block.device)
        # The nearest pair decides between equal numbers, by less than a vote.
        weights = votes.new_ones(num_neighbours)
        weights[0] += 0.5
        votes.scatter_add_(1, candidate, weights.expand(len(block), -1))
        found[first : first + rows] = votes.argmax(1)
    return found
