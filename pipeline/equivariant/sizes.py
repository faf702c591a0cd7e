"""On which sides of a map a window that moves in strides treats all directions alike.

Windows lie symmetrically on a side of n cells if the last one ends as far from the end as
the first begins from the start: (n + 2 padding - reach) must be divisible by the stride,
where reach = dilation (kernel - 1) + 1. Otherwise a turned map is sampled at other places,
and no layer of that stride commutes with the group (a stride-2 3x3 convolution with padding
1 needs odd sides: 129, 65, 33, ...).
"""


def output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Side of the output of a convolution or pooling."""
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def check_size(
    what: str, size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> None:
    """ValueError naming the nearest good sides unless windows lie symmetrically on `size` cells.

    `what` names the layer in the message.
    """
    rest = size + 2 * padding - dilation * (kernel_size - 1) - 1
    if rest < 0:
        raise ValueError(f"{what}: a side of {size} is smaller than the window")
    if rest % stride:
        below, above = size - rest % stride, size + stride - rest % stride
        good = " and ".join(str(side) for side in (below, above) if side > 0)
        raise ValueError(
            f"{what}: stride {stride} is not equivariant on a side of {size};"
            f" the nearest sides that are: {good}"
        )
