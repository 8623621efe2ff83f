"""Encoders of one dense layer over all pixels, for the autoencoders of the lecture notes: filters one can look at.

`dense_32` gives 32 linear codes, `sigmoid_512` 512 between 0 and 1. timm knows them by these names, so that they are
made, saved and read as every encoder; there are no ImageNet weights of them.
"""

from typing import Any, final

from timm.models import register_model
from torch import Tensor, nn

WIDTHS = {"dense": (2, 8, 32, 128), "sigmoid": (64, 256, 512, 1024)}


@final
class DenseNetwork(nn.Module):
    """One convolution as large as the image, which is a dense layer whose weights have an image's shape.

    timm's interface as far as an encoder needs it.
    """

    def __init__(self, width: int, activation: str, img_size: int, in_chans: int) -> None:
        super().__init__()
        self.num_features = width
        self.linear = activation != "sigmoid"
        self.stem = nn.Conv2d(in_chans, width, img_size)
        self.activation = nn.Identity() if self.linear else nn.Sigmoid()
        self.default_cfg = {
            "architecture": f"{activation}_{width}",
            "first_conv": "stem",
            "input_size": (in_chans, img_size, img_size),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        }

    def forward_features(self, x: Tensor) -> Tensor:
        codes: Tensor = self.activation(self.stem(x))
        return codes

    def forward_head(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def reset_classifier(self, num_classes: int) -> None:
        """Nothing: there is none."""


def _register(kind: str, width: int) -> None:
    def network(
        pretrained: bool = False, img_size: int = 64, in_chans: int = 3, num_classes: int = 0, **_: Any
    ) -> DenseNetwork:
        if pretrained:
            raise ValueError(f"there are no ImageNet weights of {kind}_{width}; give encoder.weights = 'none'")
        return DenseNetwork(width, kind, img_size, in_chans)

    network.__name__ = f"{kind}_{width}"
    network.__module__ = __name__
    register_model(network)


for _kind, _widths in WIDTHS.items():
    for _width in _widths:
        _register(_kind, _width)
