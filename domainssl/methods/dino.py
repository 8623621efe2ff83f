"""DINO (Caron et al. 2021, arXiv:2104.14294): small crops are to be told as a slow teacher tells large ones.

Nothing repels. Two things keep the teacher from telling the same of all images: centring (no prototype may take all)
and sharpening (a low temperature: not all prototypes alike).

Axes: b image, c band, h w pixel rows and columns, t view of the teacher, s view of the student, k prototype, p
projection, a attention head, g grid of patches a side.
"""

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.crop_sizes import crop_size
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.perceptron import perceptron
from domainssl.methods.teacher import follow, momentum_at, teacher_of, teaching
from domainssl.options import PretrainOptions
from domainssl.processes import mean
from domainssl.store import Batch
from domainssl.tokens import Tokens
from domainssl.views.choice import local
from domainssl.views.operation import Policy

# Sides of local crops, as shares of the stored one. The paper's (0.22 to 0.63) often miss an object in the middle.
LOCAL_FIELD = (0.4, 0.6)
SHOWN = 6  # images and attention heads of the pictures
ATTENDED = 0.6  # share of the attention inside the masks, as in the paper's figures


@final
class DINO(Method):
    """Encoder and prototypes, and a teacher that averages both; the student's encoder is kept.

    Two views by the domain's policy and `local_crops` small ones. Those have half of the encoder's size where it takes
    that; networks made for one size (transformers) get the small field at their own.
    """

    centre: Tensor  # k

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.own, self.momentum = options.dino, options.teacher_momentum
        self.local_size = crop_size(encoder, encoder.input.size // 2)
        self.encoder = encoder
        self.head = Prototypes(encoder.width, options.projector_width, options.projection_dim, self.own.prototypes)
        self.teacher_encoder = teacher_of(encoder)
        self.teacher_head = teacher_of(self.head)
        self.register_buffer("centre", torch.zeros(self.own.prototypes))

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return policy, policy, *[local(policy, self.local_size, LOCAL_FIELD)] * self.own.local_crops

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        images = [view.images for view in views]
        told = self.told(images[:2])
        student = torch.cat([cosines(self.encoder, self.head, part) for part in (images[:2], images[2:]) if part])
        targets = sharpened(told, self.centre, self.own.teacher_temperature)
        # What each image is sent to: the same for all, where one prototype or all of them alike are told.
        monitor = targets.flatten(0, 1) @ functional.normalize(self.teacher_head.prototypes, dim=1)
        return Step(
            {"model": cross_entropies(student, targets, self.own.student_temperature)},
            monitor=monitor,
            carry={"centre": mean(told.mean(dim=(0, 1)))},
            measures={
                "target_entropy": float(torch.special.entr(targets).sum(dim=-1).mean()) / math.log(len(self.centre))
            },
        )

    def told(self, images: list[Tensor]) -> Float[Tensor, "t b k"]:
        """The teacher's cosines of these views with its prototypes, in float32 and without gradients."""
        with teaching(self._followed(), images[0].device.type):
            return cosines(self.teacher_encoder, self.teacher_head, [view.float() for view in images])

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.head)

    def after_step(self, step: Step, progress: float) -> None:
        """Move the teacher, whose momentum rises to 1, and the centre of what it tells."""
        for online, teacher in self._followed():
            follow(online, teacher, momentum_at(self.momentum, progress))
        self.centre.lerp_(step.carry["centre"], 1 - self.own.centre_momentum)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        """For transformers: images, the class token's attention head by head, and what holds most of it."""
        try:
            tokens = Tokens(self.encoder.eval())
            with torch.no_grad():
                images = views[0].images[:SHOWN]
                shares = tokens.attention(images)[:, :SHOWN].cpu()
        except ValueError:
            return ()
        rows = tuple(f"image {number}" for number in range(1, len(images) + 1))
        heads = tuple(f"head {number}" for number in range(1, shares.shape[1] + 1))
        scaled = shares / shares.amax(dim=(2, 3), keepdim=True)
        masks = attended(shares, ATTENDED).float()
        note = f"patches that together hold {ATTENDED:.0%} of a head's attention"
        return (
            Panel("Images", "as the encoder saw them", "images", images[:, None].cpu(), rows, ("image",)),
            Panel(
                "Attention",
                "of the class token in the last block, 1 at each map's largest",
                "maps",
                scaled,
                rows,
                heads,
            ),
            Panel("Attended", note, "maps", masks, rows, heads),
        )

    def _followed(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (self.encoder, self.teacher_encoder), (self.head, self.teacher_head)


@final
class Prototypes(nn.Module):
    """A perceptron and the cosines of its outputs with learnt directions, in float32.

    The perceptron has a batch norm, as the authors' has on request: see there.
    """

    def __init__(self, inputs: int, width: int, dim: int, count: int) -> None:
        super().__init__()
        self.projector = perceptron(inputs, width, dim)
        self.prototypes = nn.Parameter(torch.randn(count, dim))

    def forward(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        projections = self.projector(rows)
        with torch.autocast(rows.device.type, enabled=False):
            return functional.normalize(projections.float(), dim=1) @ functional.normalize(self.prototypes, dim=1).T


def cosines(encoder: TimmEncoder, head: Prototypes, views: list[Tensor]) -> Float[Tensor, "v b k"]:
    """Of each view's images with the prototypes; views of one size, in one pass."""
    rows: Tensor = head(encoder.pooled(torch.cat(views)).float())
    return rows.view(len(views), len(views[0]), -1)


def sharpened(told: Float[Tensor, "t b k"], centre: Float[Tensor, " k"], temperature: float) -> Float[Tensor, "t b k"]:
    """The teacher's probabilities: centred, then sharpened by a low temperature (eq. 1, sec. 3.1)."""
    return ((told - centre) / temperature).softmax(dim=-1)


def cross_entropies(
    student: Float[Tensor, "s b k"], targets: Float[Tensor, "t b k"], temperature: float
) -> Float[Tensor, ""]:
    """Mean cross-entropy of all pairs of views but a view with itself (eq. 3), in float32; a teacher's view t is the
    student's view t."""
    with torch.autocast(student.device.type, enabled=False):
        logarithms = (student.float() / temperature).log_softmax(dim=-1)
        pairs = -torch.einsum("tbk,sbk->ts", targets.float(), logarithms) / student.shape[1]
        others = ~torch.eye(*pairs.shape, dtype=torch.bool, device=pairs.device)
        return pairs[others].mean()


def attended(shares: Float[Tensor, "b a g g"], mass: float) -> Bool[Tensor, "b a g g"]:
    """The fewest patches of each map that together hold at least `mass` of its sum."""
    ordered, places = shares.flatten(2).sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = before < mass * ordered.sum(dim=-1, keepdim=True)
    return torch.zeros_like(kept).scatter(-1, places, kept).view(shares.shape)
