"""Which places of a feature map or grid of tokens show the image, for losses that are taken place by place."""

from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional


def valid_places(valid: Bool[Tensor, "b 1 h w"], rows: int, columns: int) -> Bool[Tensor, "b n"]:
    """Whether at least half of the pixels under each place are valid, places in reading order."""
    return functional.adaptive_avg_pool2d(valid.float(), (rows, columns)).flatten(1) >= 0.5
