"""The columns of a table of metrics, and how the values of several seeds become a cell."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Result = dict[str, Any]
Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Column:
    """A heading, the value of one result (None: it has none), and how seeds are summed up."""

    heading: str
    value: Callable[[Result], float | None]
    digits: int
    statistic: Statistic = "mean"


def metric(name: str) -> Callable[[Result], float | None]:
    """The value of a metric, wherever in the result it lies."""

    def value(result: Result) -> float | None:
        found = {**result["metrics"], **result.get("mask", {})}.get(name)
        return float(found) if found is not None else None

    return value


def error_of_part(name: str, empty: float) -> Callable[[Result], float | None]:
    """The relative error of a part of the latent; none where that part has no channels.

    That is where `empty` is the share of variant channels.
    """

    def value(result: Result) -> float | None:
        fraction = metric("mask/fraction_variant")(result)
        return None if fraction == empty else metric(name)(result)

    return value


def worst_psnr(result: Result) -> float | None:
    """The lowest PSNR of the group's elements, None where they were not told apart."""
    values = [
        value
        for name, value in result["metrics"].items()
        if name.startswith("psnr/") and name != "psnr/composed" and value is not None
    ]
    return min(values, default=None)


def columns_of(results: Sequence[Result]) -> list[Column]:
    """The columns that at least one of the results fills."""
    swaps = sorted({name for r in results for name in r["metrics"] if is_swap_error(name)})
    columns = [
        Column("PSNR", metric("psnr"), 2),
        Column("PSNR, worst g", worst_psnr, 2),
        Column("SSIM", metric("ssim"), 4),
        Column("Dice", metric("dice"), 4),
        Column(
            "equivariance of z_v (median)",
            error_of_part("equivariance_error/variant", empty=0.0),
            4,
            "median",
        ),
        Column(
            "the same, centred (median)",
            error_of_part("equivariance_error/variant_centred", empty=0.0),
            4,
            "median",
        ),
        Column(
            "invariance of z_i (median)",
            error_of_part("invariance_error/invariant", empty=1.0),
            4,
            "median",
        ),
        Column("equivariance of z (median)", metric("equivariance_error/latent"), 4, "median"),
        Column("composition", metric("composition_error/image"), 4),
        Column("block in z_i", metric("block/share_invariant"), 3),
        Column("block in z_v", metric("block/share_variant"), 3),
        Column("block's area", metric("block/area_fraction"), 3),
        *(Column(swap_heading(name), metric(name), 4) for name in swaps),
        Column("variant share", metric("mask/fraction_variant"), 3),
    ]
    return [each for each in columns if any(each.value(result) is not None for result in results)]


def is_swap_error(name: str) -> bool:
    """Whether a metric is an error of swapped parts."""
    return name.startswith("swap/") and name.endswith("_rmse")


def swap_heading(name: str) -> str:
    """`swap, background` for swap/background_rmse."""
    inner = name.removeprefix("swap/").removesuffix("_rmse").replace("_", " ")
    return f"swap, {inner}"


def cell(values: Sequence[float], digits: int, statistic: Statistic, num_planned: int) -> str:
    """`27.10 ± 0.31`: mean and sample deviation, or median and range; empty without values.

    The number of runs follows in brackets where it is not the planned one.
    """
    if not values:
        return ""
    if statistic == "median":
        text = f"{statistics.median(values):.{digits}f}"
        if len(values) > 1:
            text += f" [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    else:
        text = f"{math.fsum(values) / len(values):.{digits}f}"
        if len(values) > 1:
            text += f" ± {statistics.stdev(values):.{digits}f}"
    return text if len(values) == num_planned else f"{text} ({len(values)})"
