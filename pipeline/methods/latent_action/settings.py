"""Configuration of the latent action task."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import InnerShare, NotNegative, Positive, PositiveInt, limited
from orbit.core.plugins import Open
from pipeline.models.settings import (
    AutoencoderConfig,
    FixedMaskConfig,
    LatentActionSettings,
    LearnedMaskConfig,
    MaskConfig,
    NetworkConfig,
    SpatialActionConfig,
)

DEFAULT_TAU = 0.5
Network = Annotated[NetworkConfig, Open("networks")]
Action = Annotated[LatentActionSettings, Open("actions")]
Reconstruct = Literal["action", "source", "target"]
LatentLosses = Literal["stop_gradient", "full_gradient", "relative"]


@dataclass(frozen=True)
@limited
class LossWeights:
    """Weights of L_recon, L_inv (invariance) and L_const (consistency); 1, 1, 1 in the paper."""

    recon: NotNegative = 1.0
    invariance: NotNegative = 1.0
    consistency: NotNegative = 1.0

    def __post_init__(self) -> None:
        if self.recon == 0:
            raise ValueError("recon=0 leaves nothing to train the decoder with")


@dataclass(frozen=True)
class NoContrastConfig:
    """Images are not compared with each other (as in the paper)."""

    name: Literal["none"] = "none"


@dataclass(frozen=True)
@limited
class ViewsContrastConfig:
    """A loss that pulls pooled z_v of x closer to that of a deformed g x than to those of other
    images.

    InfoNCE with `weight`, over the global batch, after a projector with `hidden` and then
    `size` units; similarities are divided by `temperature`. A deformation is a random affine
    map about the centre: up to `rotation` radians either way, `shear` and `stretch` (of each
    axis, as a factor from 1 / (1 + stretch) to 1 + stretch), moved by up to `shift` of half
    the frame; and with `thickness`, bright parts grow or shrink by a pixel in two of three
    views.
    """

    name: Literal["views"]
    weight: Positive = 0.03
    temperature: Positive = 0.2
    hidden: PositiveInt = 256
    size: PositiveInt = 64
    rotation: NotNegative = 0.35
    shear: NotNegative = 0.3
    stretch: NotNegative = 0.2
    shift: NotNegative = 0.15
    thickness: bool = True


ContrastConfig = NoContrastConfig | ViewsContrastConfig


@dataclass(frozen=True)
@limited
class LatentActionConfig:
    """Network, action, mask, its threshold, output and loss weights.

    `output=auto` is a Tanh, or logits with cross-entropy if the dataset is binary.
    `reconstruct=action` decodes the moved latent of x into g x (as in the paper). The controls do
    not use the action: `source` decodes E(x) into x, `target` E(g x) into g x. A contrast then
    compares whole latents, of which all channels count as variant.

    `both_directions=true` trains on each pair (x, g, g x) as (g x, g^-1, x), too: twice as many
    predictions of a batch for one more decoding and one more gradient of the encoder. Contrasts
    stay as they are.

    `orbit_average=true` replaces E(x) by the mean of g^-1 E(g x) over all elements of a finite
    group: latents then turn with the image, whatever the weights, where the group acts on whole
    frames.

    `latent_losses=stop_gradient` is the paper's form: no gradient flows through the latent of g x.
    For some seeds, and for actions that interpolate, larger latents then lower the loss, and they
    grow without bound. With `full_gradient` the gradient flows through the target too, and latents
    shrink instead; `relative` also divides both losses by how much the latent of g x varies over
    its cells, so that neither the size nor a constant matters. With weights of 0 all three are the
    same.
    """

    name: Literal["latent_action"]
    tau: InnerShare = DEFAULT_TAU
    model: Network = AutoencoderConfig()
    action: Action = SpatialActionConfig()
    output: Literal["auto", "tanh", "logits"] = "auto"
    mask: MaskConfig = LearnedMaskConfig()
    reconstruct: Reconstruct = "action"
    both_directions: bool = False
    latent_losses: LatentLosses = "stop_gradient"
    weights: LossWeights = LossWeights()
    contrast: ContrastConfig = NoContrastConfig()
    orbit_average: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.mask, FixedMaskConfig) and self.tau != DEFAULT_TAU:
            raise ValueError(f"tau={self.tau} has no effect with mask.name=fixed")
        weights = self.weights
        has_latent_losses = (weights.invariance, weights.consistency) != (0, 0)
        if self.reconstruct != "action" and has_latent_losses:
            raise ValueError(
                f"reconstruct={self.reconstruct} knows no action: set weights.invariance=0 and"
                " weights.consistency=0"
            )
        if self.reconstruct != "action" and self.both_directions:
            raise ValueError(
                f"both_directions=true has no effect with reconstruct={self.reconstruct}, which"
                " knows no action: allowed with reconstruct=action"
            )
        is_whole = isinstance(self.mask, FixedMaskConfig) and self.mask.variant_fraction == 1
        is_contrast = isinstance(self.contrast, ViewsContrastConfig)
        if self.reconstruct != "action" and is_contrast and not is_whole:
            raise ValueError(
                f"reconstruct={self.reconstruct} leaves z_v without a meaning to compare:"
                " contrast.name=none, or mask.name=fixed with variant_fraction=1"
            )
        if self.orbit_average and not isinstance(self.action, SpatialActionConfig):
            raise ValueError(
                f"orbit_average=true turns latent cells back; with action.name={self.action.name}"
                " there are none: allowed with action.name=spatial"
            )
        if isinstance(self.contrast, ViewsContrastConfig):
            self._check_contrast()

    def _check_contrast(self) -> None:
        """Raise ValueError for a contrast if z_v has no spatial cells, or no channels."""
        if not isinstance(self.action, SpatialActionConfig):
            raise ValueError(
                f"contrast.name=views averages over cells that the group moves; with"
                f" action.name={self.action.name} it would work against the action: allowed with"
                " action.name=spatial"
            )
        if isinstance(self.mask, FixedMaskConfig) and self.mask.variant_fraction == 0:
            raise ValueError("contrast.name=views has no effect with mask.variant_fraction=0")
