"""Pictures of methods that reconstruct: what comes back, beside PCA; ways between codes; filters of dense encoders.

`images` are as the network takes them; what is shown is in source units.

Axes: b image, c band, h w pixel rows and columns.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from domainssl.dense import DenseNetwork
from domainssl.encoders import TimmEncoder
from domainssl.methods.bottlenecks import Bottlenecks
from domainssl.methods.method import Panel

SHOWN = 8  # images
STEPS = 7  # from one image to another
ARROWS = 15  # a side
FILTERS, ACROSS = 64, 16


def pictures(encoder: TimmEncoder, columns: Mapping[str, Float[Tensor, "b c h w"]], title: str, note: str) -> Panel:
    """The first images of each column side by side, a row an image."""
    values = torch.stack([_source(encoder, images[:SHOWN]) for images in columns.values()], dim=1)
    return Panel(title, note, "images", values, columns=tuple(columns))


def beside_pca(
    encoder: TimmEncoder, images: Float[Tensor, "b c h w"], found: Mapping[int, Float[Tensor, "b c h w"]]
) -> Panel:
    """Images, and by size of code their reconstructions and those of PCA with as many dimensions."""
    columns = {"image": images}
    for size, reconstructed in found.items():
        columns |= {f"code of {size}": reconstructed, f"PCA, {size}": pca_reconstructed(images, size)}
    note = (
        f"PCA is of these {len(images)} images themselves, which it has back exactly with {len(images) - 1} dimensions "
        "or more; the network was trained on all."
    )
    return pictures(encoder, columns, "Reconstructions, and PCA with as many dimensions", note)


def interpolation(
    encoder: TimmEncoder, bottlenecks: Bottlenecks, images: Float[Tensor, "b c h w"]
) -> tuple[Panel, ...]:
    """On the straight way from the first image's code to the second's, for each size of code and for PCA.

    Nothing for fewer than 2 images.
    """
    if len(images) < 2:
        return ()
    shares = torch.linspace(0, 1, STEPS, device=images.device)[:, None]
    features = encoder.pooled_normalised(images[:2])
    ways = {}
    for size in bottlenecks.sizes:
        first, second = bottlenecks.code(features, size)
        ways[f"code of {size}"] = bottlenecks.decoded(torch.lerp(first, second, shares))
    largest = max(bottlenecks.sizes)
    # PCA is linear, so between two codes lie the means of the two reconstructions.
    first, second = pca_reconstructed(images, largest)[:2].flatten(1)
    ways[f"PCA, {largest}"] = torch.lerp(first, second, shares).view(-1, *images.shape[1:])
    values = torch.stack([_source(encoder, way) for way in ways.values()])
    note = "The ends are reconstructions of two images; PCA fades one into the other."
    columns = tuple(f"{share:.2f}" for share in shares.flatten().tolist())
    return (Panel("From one image to another", note, "images", values, tuple(ways), columns),)


def pca_reconstructed(images: Float[Tensor, "b c h w"], dimensions: int) -> Float[Tensor, "b c h w"]:
    """Images by their own first principal components (scikit-learn's); as many as there are where that is fewer."""
    if len(images) < 2:
        return images  # its own mean
    rows = images.detach().flatten(1).double().cpu().numpy()
    pca = PCA(min(dimensions, *rows.shape), svd_solver="full")
    found = torch.from_numpy(pca.inverse_transform(pca.fit_transform(rows)))
    return found.to(images).view_as(images)


def filters(encoder: TimmEncoder) -> tuple[Panel, ...]:
    """What each unit of a dense encoder looks for, those with the largest weights; nothing for other encoders."""
    if not isinstance(encoder.network, DenseNetwork):
        return ()
    weights = encoder.network.stem.weight.detach().float().cpu()  # unit c h w
    bands, size = weights.shape[1:3]
    across = min(ACROSS, len(weights))
    lines = max(1, min(FILTERS // bands, len(weights)) // across)
    strongest = weights.flatten(1).norm(dim=1).topk(lines * across).indices
    maps = weights[strongest] / weights[strongest].abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    values = (maps / 2 + 0.5).view(lines, across, bands, size, size).transpose(1, 2).flatten(0, 1)
    note = (
        "The middle colour is 0, the brightest and darkest the filter's largest weight and its opposite; a line a band."
    )
    return (Panel("Filters", note, "maps", values, tuple(encoder.input.bands) * lines),)


def way_back(encoder: TimmEncoder, bottlenecks: Bottlenecks, images: Float[Tensor, "b c h w"]) -> tuple[Panel, ...]:
    """From points z of the plane of two-dimensional codes to the code of what is decoded there.

    The plane is shown where the images' codes lie. Nothing where no code has 2 dimensions.
    """
    if 2 not in bottlenecks.sizes:
        return ()
    codes = bottlenecks.code(encoder.pooled_normalised(images), 2)
    low, high = codes.amin(0), codes.amax(0)
    shares = torch.linspace(0, 1, ARROWS, device=images.device)
    starts = low + torch.cartesian_prod(shares, shares) * (high - low)
    ends = bottlenecks.code(encoder.pooled_normalised(bottlenecks.decoded(starts)), 2)
    note = "Each arrow goes from a code to the code of its image: towards where images lie."
    values = torch.cat([starts, ends], dim=1).detach().float().cpu()
    return (Panel("The way back, on the plane of two numbers", note, "arrows", values),)


def _source(encoder: TimmEncoder, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return encoder.source_values(images.detach().float()).cpu()
