"""How much of a matrix is a cyclic convolution."""

import torch


def circulant_part(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest circulant matrix to (n, n), float64: means along the wrapped diagonals.

    A circulant C has C[i, j] = c[(j - i) mod n], which is what commutes with cyclic shifts.
    """
    size = len(matrix)
    if matrix.shape != (size, size):
        raise ValueError(f"a matrix of {tuple(matrix.shape)} is not square")
    places = torch.arange(size, device=matrix.device)
    shift = (places[None] - places[:, None]) % size
    sums = matrix.new_zeros(size, dtype=torch.float64)
    sums.index_add_(0, shift.flatten(), matrix.double().flatten())
    return sums[shift] / size


def circulant_share(matrix: torch.Tensor) -> float:
    """Share of the squared entries of (n, n) that its circulant part holds: 1 for a circulant
    matrix, 1/n for noise, 0 for zeros."""
    whole = float(matrix.double().square().sum())
    return float(circulant_part(matrix).square().sum()) / whole if whole > 0 else 0.0
