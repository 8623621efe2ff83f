"""CPC v2 (Henaff et al. 2019, arXiv:1905.09272): from the rows of patches above, find those below among all others.

The image is cut into a grid of patches that overlap by half. Each is changed by itself (mirrored, turned a little,
cropped) and becomes one code. A context that sees a row and those above it predicts the codes below; the row that
follows shares pixels with what was seen, so that the first predicted one is the second below. After training the
encoder is used on whole images.

Axes: b image, c band, h w pixel rows and columns, g row or column of patches, n patch of the batch, d feature, p code.
"""

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.methods.crop_sizes import crop_size
from domainssl.methods.info_nce import info_nce
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.processes import gathered
from domainssl.store import Batch
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.operation import Policy, apply_policy

OVERLAPPING = 1  # rows below that share pixels with a row
BLOCKS = 4  # of the context; each looks one row further up


@final
class CPC(Method):
    """Encoder of patches, context and a linear map for each distance; all but the encoder is thrown away.

    The paper has no batch norm, whose statistics let codes know of one another; here is one, without which short
    trainings of a frozen encoder found nothing.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.patches, self.ahead = options.cpc.patches, options.cpc.ahead
        if not 1 <= self.ahead < self.patches - OVERLAPPING:
            raise ValueError(
                f"pretrain.cpc.ahead: {self.ahead} rows of {self.patches} cannot be predicted; give 1 to patches - 2"
            )
        self.stride = encoder.input.size // (self.patches + 1)
        if self.stride < 1:
            raise ValueError(
                f"pretrain.cpc.patches: {encoder.input.size} px hold no grid of {self.patches}; give fewer"
            )
        self.encoder = encoder
        size = crop_size(encoder, 2 * self.stride)
        self.patch_views: Policy = (AffineCrop(size, rotation=15.0, flip=0.5, field=(0.8, 1.0), shift=0.05),)
        dim = options.projection_dim
        self.norm = nn.BatchNorm1d(encoder.width, affine=False)  # of gathered rows, the same in every process
        self.target = nn.Linear(encoder.width, dim)
        self.enter = nn.Linear(encoder.width, dim)
        self.context = nn.Sequential(*(RowsAbove(dim, options.projector_width) for _ in range(BLOCKS)), nn.ReLU())
        self.predictors = nn.ModuleList(nn.Linear(dim, dim) for _ in range(self.ahead))

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        features, valid = self.encoded(views[0], generator)
        # The rest is small: every process does it for the whole batch.
        features, valid = self.standardised(gathered(features)), gathered(valid)
        targets = self.target(features)
        loss, information = row_loss(self.predictions(features), targets, valid)
        return Step(
            {"model": loss}, monitor=targets.flatten(0, 2).detach().float(), measures={"information": information}
        )

    def encoded(
        self, view: Batch, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b g g d"], Bool[Tensor, "b g g"]]:
        """The features of each patch, and whether at least half of it is valid."""
        side, start = 2 * self.stride, (view.images.shape[-1] - self.stride * (self.patches + 1)) // 2

        def cut(planes: Tensor) -> Tensor:
            inner = planes[:, :, start:, start:].unfold(2, side, self.stride).unfold(3, side, self.stride)
            return inner[:, :, : self.patches, : self.patches].permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

        count = self.patches**2
        patches = Batch(cut(view.images), cut(view.valid), {}, view.rows.repeat_interleave(count))
        patches = apply_policy(self.patch_views, patches, generator)
        features = self.encoder.pooled(patches.images).float()
        shape = (len(view.images), self.patches, self.patches)
        return features.view(*shape, -1), patches.valid.float().mean(dim=(1, 2, 3)).view(shape) >= 0.5

    def standardised(self, features: Float[Tensor, "b g g d"]) -> Float[Tensor, "b g g d"]:
        """Without what all patches have in common, which is most of a feature and would hide all else."""
        rows: Tensor = self.norm(features.flatten(0, 2))
        return rows.view(features.shape)

    def predictions(self, features: Float[Tensor, "b g g d"]) -> list[Float[Tensor, "b _ g p"]]:
        """For each distance, the codes predicted of the rows that lie as far below the first ones."""
        context = self.context(self.enter(features).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return [
            predictor(context[:, : self.patches - OVERLAPPING - number])
            for number, predictor in enumerate(self.predictors, start=1)
        ]

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.target, self.enter, self.context, self.predictors)


@final
class RowsAbove(nn.Module):
    """A residual block (b p g g in and out) that sees a place's own row and the one above, a column to either side."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(dim, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, (1, 3), padding=(0, 1)),
            nn.ZeroPad2d((0, 0, 1, 0)),  # one row of zeros above
            nn.Conv2d(width, width, (2, 1)),
            nn.ReLU(),
            nn.Conv2d(width, dim, 1),
        )

    def forward(self, codes: Float[Tensor, "b p g g"]) -> Float[Tensor, "b p g g"]:
        above: Tensor = self.layers(codes)
        return codes + above


def row_loss(
    predictions: list[Float[Tensor, "b _ g p"]], targets: Float[Tensor, "b g g p"], valid: Bool[Tensor, "b g g"]
) -> tuple[Float[Tensor, ""], float]:
    """Mean over distances of InfoNCE among all valid patches of all images, and the mean information in nats.

    `predictions` of each distance are of the last r rows; scores are scalar products over sqrt(p), in float32. Invalid
    patches are neither asked for nor candidates; 0 where nothing is asked.
    """
    with torch.autocast(targets.device.type, enabled=False):
        dim = targets.shape[-1]
        candidates = targets.float().reshape(-1, dim)
        numbers = torch.arange(len(candidates), device=targets.device).view(valid.shape)
        loss, information = candidates.sum() * 0, []
        for predicted in predictions:
            rows = predicted.shape[1]
            asked = valid[:, -rows:]
            scores = predicted.float()[asked] @ candidates.T / math.sqrt(dim)
            scores = scores.masked_fill(~valid.flatten(), -torch.inf)
            losses, shown = info_nce(scores, numbers[:, -rows:][asked])
            loss = loss + losses.sum() / max(1, len(losses)) / len(predictions)
            information.append(float(shown.sum()) / max(1, len(losses)))
        return loss, sum(information) / len(predictions)
