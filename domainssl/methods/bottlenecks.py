"""Codes of several sizes from one encoder, and a decoder each: what `autoencoder` and `denoising_autoencoder` share.

Axes: b image, c band, h w pixel rows and columns, d feature, k code.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import decoder


@final
class Bottlenecks(nn.Module):
    """A linear layer from the pooled features to each code, and a decoder from it; reconstructions by size of code.

    Without any size the features themselves are the one code.
    """

    def __init__(self, encoder: TimmEncoder, sizes: tuple[int, ...]) -> None:
        super().__init__()
        bands, pixels = len(encoder.input.bands), encoder.input.size
        self.sizes = sizes or (encoder.width,)
        self.layers = nn.ModuleDict(
            {str(size): nn.Linear(encoder.width, size) if sizes else nn.Identity() for size in self.sizes}
        )
        self.decoders = nn.ModuleDict({str(size): decoder(size, bands, pixels) for size in self.sizes})

    def forward(self, features: Float[Tensor, "b d"]) -> dict[int, Float[Tensor, "b c h w"]]:
        return {size: self.decoded(self.code(features, size)) for size in self.sizes}

    def code(self, features: Float[Tensor, "b d"], size: int) -> Float[Tensor, "b k"]:
        """The code of `size` numbers."""
        code: Tensor = self.layers[str(size)](features)
        return code

    def decoded(self, code: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        """The images, as the network takes them, that the decoder for codes of this size sees in a code."""
        images: Tensor = self.decoders[str(code.shape[1])](code)
        return images
