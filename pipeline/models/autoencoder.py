"""The paper's convolutional encoder and decoder.

Stride-2 4-wide convolutions with LeakyReLU(0.2), no normalisation (script
`rotated_mnist.py`; 2D). Volumes use the same plan with 3D layers. The Tanh that ends
the paper's decoder is `pipeline.models.output`'s.
"""

from torch import nn

from pipeline.models.settings import AutoencoderConfig, ContextConfig, num_halvings


class ConvEncoder(nn.Sequential):
    """(N, C, H, W) to (N, width * 2^(depth-1), H / 2^depth, W / 2^depth); volumes likewise."""

    def __init__(
        self, config: AutoencoderConfig | ContextConfig, num_input: int, num_spatial: int
    ) -> None:
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        layers: list[nn.Module] = []
        num_channels = num_input
        for level in range(num_halvings(config)):
            num_output = config.width * 2**level
            layers += [conv(num_channels, num_output, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            num_channels = num_output
        super().__init__(*layers)


class ConvDecoder(nn.Sequential):
    """The encoder's mirror image, from a latent of `num_latent` channels."""

    def __init__(
        self,
        config: AutoencoderConfig | ContextConfig,
        num_latent: int,
        num_output: int,
        num_spatial: int,
    ) -> None:
        conv = nn.ConvTranspose2d if num_spatial == 2 else nn.ConvTranspose3d
        layers: list[nn.Module] = []
        num_channels = num_latent
        for level in range(num_halvings(config) - 2, -1, -1):
            num_next = config.width * 2**level
            layers += [conv(num_channels, num_next, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            num_channels = num_next
        super().__init__(*layers, conv(num_channels, num_output, 4, 2, 1))
