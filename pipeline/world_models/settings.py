"""Configuration of world models: a domain's networks as `none`, `full` or `ours`.

`ours`: the embedding S is free, encoder E and transition T are equivariant (the paper's).
`full`: S too, under the action that pixels would have if the frame itself turned.
`none`: nothing is equivariant.
"""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["none", "full", "ours"]


def _check_sizes(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        for size in value if isinstance(value, tuple) else (value,):
            if size is not None and size < 1:
                raise ValueError(f"{name}={size} must be at least 1")


@dataclass(frozen=True)
class GridMaskConfig:
    """A learned mask over S's outputs: the group acts on those it selects, and on no others.

    S makes `num_maps` maps of each object, and the mask has a logit for each; those above
    the threshold `tau` are variant. `invariant_size` numbers of each object's latent come of
    the others, and no action changes them.
    """

    num_maps: int = 2
    invariant_size: int = 2
    tau: float = 0.5

    def __post_init__(self) -> None:
        _check_sizes(self, "num_maps", "invariant_size")
        if not 0 < self.tau < 1:
            raise ValueError(f"tau={self.tau} must lie between 0 and 1")


@dataclass(frozen=True)
class GridModelConfig:
    """Objects on a grid of cells: 2D Shapes, 3D Blocks, Rush Hour.

    `view=cells`: S sees one cell at a time (2 layers); `pixels`: four 3x3 convolutions, the
    first averaged over `pool` x `pool` pixels. `directions=relative` where objects have
    headings and directions are theirs (Rush Hour). `channels` of S are regular fields for
    `full`. `latent_size`: numbers of an object for `none`, copies of the regular
    representation (4 numbers each) else. `mask` lets `ours` find what the group acts on.
    """

    name: Literal["grid"]
    kind: Kind
    view: Literal["cells", "pixels"]
    channels: int
    hidden: int
    latent_size: int = 2
    directions: Literal["absolute", "relative"] = "absolute"
    cells: int = 5
    pool: int = 1
    mask: GridMaskConfig | None = None
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, "channels", "hidden", "latent_size", "cells", "pool")
        if self.mask is not None and (self.kind, self.directions) != ("ours", "absolute"):
            raise ValueError("mask needs kind=ours and directions=absolute")
        if self.view == "cells" and self.pool != 1:
            raise ValueError("pool has no effect with view=cells")
        if self.view == "pixels" and self.cells != 5:
            raise ValueError("cells has no effect with view=pixels")


@dataclass(frozen=True)
class ReacherModelConfig:
    """A jointed arm seen from above, two frames at a time.

    `channels` of S are regular fields for `full`, and so are its `embedding_size` outputs;
    `hidden` are fields of E and T for `ours` and `full`; `latent_size` numbers for `none`,
    regular fields (8 numbers each) else. `dilations` are those of S's middle layers.
    """

    name: Literal["reacher"]
    kind: Kind
    channels: int
    hidden: int
    embedding_size: int = 8
    latent_size: int = 4
    dilations: tuple[int, ...] = (2, 4, 8, 16, 32)
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, "channels", "hidden", "embedding_size", "latent_size", "dilations")


@dataclass(frozen=True)
class TeapotModelConfig:
    """An object turned in space: S makes a rotation of a frame, which is the latent.

    `channels` of four or so down-sampling convolutions, `hidden` of two linear layers.
    `ours` multiplies by the action; `none` has an MLP of `transition_hidden` units.
    """

    name: Literal["teapot"]
    kind: Literal["none", "ours"]
    channels: tuple[int, ...] = (32, 64, 128, 256)
    hidden: int = 256
    transition_hidden: int | None = None
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, "channels", "hidden", "transition_hidden")
        if self.kind == "ours" and self.transition_hidden is not None:
            raise ValueError("transition_hidden has no effect with kind=ours")
        if self.kind == "none" and self.transition_hidden is None:
            raise ValueError("transition_hidden must be given with kind=none")


@dataclass(frozen=True)
class HomeomorphicVAEConfig:
    """The baseline that knows the latent's shape but no actions (Falorsi et al.).

    `channels` of the encoder's convolutions; the decoder has `num_copies` functions on the
    rotations up to `max_degree`, then convolutions of `decoder_channels`.
    """

    name: Literal["homeomorphic_vae"]
    channels: tuple[int, ...] = (50, 100, 200, 400)
    decoder_channels: int = 200
    max_degree: int = 6
    num_copies: int = 10
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, "channels", "decoder_channels", "max_degree", "num_copies")


WorldModelSettings = (
    GridModelConfig | ReacherModelConfig | TeapotModelConfig | HomeomorphicVAEConfig
)
