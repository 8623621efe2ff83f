"""What methods on pairs share: two views of an image are the same, views of any two images are not.

Axes: b image, n view of an image (all first views, then all second ones), p projection.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.methods.verification import balanced_accuracy, verification_threshold
from domainssl.processes import gathered
from domainssl.store import Batch


def projected(encoder: TimmEncoder, projector: nn.Module, views: tuple[Batch, ...]) -> Float[Tensor, "n p"]:
    """Projections of two views in float32, of all processes: all first views, then all second ones."""
    first, second = views
    images = torch.cat([first.images, second.images])  # one pass, one set of projector statistics
    projections = projector(encoder.pooled(images).float()).float()
    return torch.cat([gathered(rows) for rows in projections.chunk(2)])


def same_image(count: int, device: torch.device) -> Bool[Tensor, "n n"]:
    """Which of `count` views are of one image; a view and itself as well."""
    image = torch.arange(count // 2, device=device).repeat(2)
    return image[:, None] == image


def distances(rows: Float[Tensor, "n p"]) -> Float[Tensor, "n n"]:
    """Euclidean distances in float32, exact for close pairs; the gradient at distance 0 is 0."""
    with torch.autocast(rows.device.type, enabled=False):
        rows = rows.float()
        return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def verified(found: Float[Tensor, "n n"]) -> dict[str, float]:
    """How well a distance below a threshold tells the same image from another, within the batch; {} below 4 images.

    The threshold comes from pairs of the first half of the images, the balanced accuracy from those of the second.
    """
    count = len(found) // 2
    half = count // 2
    if half < 2:
        return {}
    first = torch.arange(len(found), device=found.device) % count < half
    same = same_image(len(found), found.device)
    above = torch.ones_like(same).triu(1)
    chooses, scores = above & first[:, None] & first, above & ~first[:, None] & ~first
    threshold = verification_threshold(found[chooses], same[chooses])
    return {"threshold": threshold, "verification": balanced_accuracy(found[scores], same[scores], threshold)}
