"""Configuration of world models: the networks of a domain as `none`, `full` or `ours`.

`ours`: the embedding S is free, encoder E and transition T are equivariant (as in the paper).
`full`: S is equivariant too, as if the group turned the frame itself. `none`: nothing is
equivariant.
"""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, InnerShare, limited

Kind = Literal["none", "full", "ours"]


@dataclass(frozen=True)
@limited
class GridMaskConfig:
    """A learned mask over S's outputs: the group acts only on the outputs that it selects.

    S makes `num_maps` maps of each object, and the mask has a logit for each; those above the
    threshold `tau` are variant. The other maps give `invariant_size` numbers of each object's
    latent, which no action changes.
    """

    num_maps: Count = 2
    invariant_size: Count = 2
    tau: InnerShare = 0.5


@dataclass(frozen=True)
@limited
class GridModelConfig:
    """Objects on a grid of cells: 2D Shapes, 3D Blocks, Rush Hour.

    `view=cells`: S sees one cell at a time (2 layers); `pixels`: four 3x3 convolutions, the first
    averaged over `pool` x `pool` pixels. `directions=relative` if directions are relative to
    objects' headings (Rush Hour). `channels` of S are regular fields for `full`. `latent_size`
    counts the numbers of an object for `none`, and copies of the regular representation (4 numbers
    each) otherwise. With `mask`, `ours` learns on which outputs the group acts.
    """

    name: Literal["grid"]
    kind: Kind
    view: Literal["cells", "pixels"]
    channels: Count
    hidden: Count
    latent_size: Count = 2
    directions: Literal["absolute", "relative"] = "absolute"
    cells: Count = 5
    pool: Count = 1
    mask: GridMaskConfig | None = None
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.mask is not None and (self.kind, self.directions) != ("ours", "absolute"):
            raise ValueError("mask needs kind=ours and directions=absolute")
        if self.view == "cells" and self.pool != 1:
            raise ValueError("pool has no effect with view=cells")
        if self.view == "pixels" and self.cells != 5:
            raise ValueError("cells has no effect with view=pixels")


@dataclass(frozen=True)
@limited
class ReacherModelConfig:
    """A jointed arm seen from above, two frames at a time.

    `channels` of S are regular fields for `full`, and so are its `embedding_size` outputs; `hidden`
    are fields of E and T for `ours` and `full`; `latent_size` counts numbers for `none`, and
    regular fields (8 numbers each) otherwise. `dilations` are those of S's middle layers.
    """

    name: Literal["reacher"]
    kind: Kind
    channels: Count
    hidden: Count
    embedding_size: Count = 8
    latent_size: Count = 4
    dilations: tuple[Count, ...] = (2, 4, 8, 16, 32)
    activation_checkpointing: bool = False


@dataclass(frozen=True)
@limited
class TeapotModelConfig:
    """An object turned in space: S maps a frame to a rotation, which is the latent.

    `channels` are those of the down-sampling convolutions, `hidden` the units of two linear layers.
    `ours` multiplies by the action; `none` has an MLP of `transition_hidden` units.
    """

    name: Literal["teapot"]
    kind: Literal["none", "ours"]
    channels: tuple[Count, ...] = (32, 64, 128, 256)
    hidden: Count = 256
    transition_hidden: Count | None = None
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.kind == "ours" and self.transition_hidden is not None:
            raise ValueError("transition_hidden has no effect with kind=ours")
        if self.kind == "none" and self.transition_hidden is None:
            raise ValueError("transition_hidden must be given with kind=none")


@dataclass(frozen=True)
@limited
class HomeomorphicVAEConfig:
    """The baseline that knows the latent's shape but uses no actions (Falorsi et al.).

    `channels` are those of the encoder's convolutions; the decoder has `num_copies` functions on
    rotations up to degree `max_degree`, then convolutions with `decoder_channels`.
    """

    name: Literal["homeomorphic_vae"]
    channels: tuple[Count, ...] = (50, 100, 200, 400)
    decoder_channels: Count = 200
    max_degree: Count = 6
    num_copies: Count = 10
    activation_checkpointing: bool = False


WorldModelSettings = (
    GridModelConfig | ReacherModelConfig | TeapotModelConfig | HomeomorphicVAEConfig
)
