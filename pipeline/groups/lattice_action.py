"""Moving the cells of square and cubic arrays by signed permutations and cyclic shifts."""

import torch


def move_cells(
    x: torch.Tensor,
    axis: torch.Tensor,
    direction: torch.Tensor,
    shift: torch.Tensor | None,
) -> torch.Tensor:
    """Turn each sample of `x` (N, ..., S, S) or (N, ..., S, S, S), then shift it cyclically.

    For each of the k axes of the turned array `axis` (N, k) int64 is the axis it was
    before and `direction` (N, k) is -1 where values are reversed along it; `shift` (N, k)
    int64 is the shift afterwards, in cells towards higher indices, or None for none.
    Values are moved by one gather, of any dtype and bit for bit.
    """
    side, num_axes = x.shape[-1], axis.shape[1]
    # Such a motion moves each axis as a whole, so where a value comes from is a sum of one
    # small table for each axis.
    place = torch.arange(side, device=x.device).expand(len(axis), num_axes, side)
    if shift is not None:
        place = place - shift[:, :, None]
    place = torch.where(direction[:, :, None] > 0, place, side - 1 - place)
    if shift is not None:
        place = place.remainder(side)
    strides = torch.zeros_like(axis)
    for before in range(num_axes):
        strides = strides + (axis == before) * side ** (num_axes - 1 - before)
    terms = (place * strides[:, :, None]).unbind(1)
    index = terms[0]
    for term in terms[1:]:
        index = (index[:, :, None] + term[:, None]).flatten(1)
    flat = x.flatten(-num_axes)
    index = index.view(len(axis), *(1,) * (flat.ndim - 2), -1)
    return flat.gather(-1, index.expand(*flat.shape[:-1], -1)).view(x.shape)
