"""The options of every step, as a recipe gives them. Frozen; imports no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StoreOptions:
    """How cutouts are laid down: `size` pixels a side; `crop` source pixels are cut from the centre first, if given."""

    size: int = 128
    crop: int | None = None


@dataclass(frozen=True)
class EncoderOptions:
    """A timm encoder. `weights`: "imagenet", "none" (random), or the path of a .safetensors file."""

    name: str = "tf_efficientnet_lite0"
    weights: str = "imagenet"
    size: int = 96


@dataclass(frozen=True)
class PretrainOptions:
    """Continued self-supervised pretraining.

    The projector alone is trained for `projector_epochs`, with the encoder frozen, since the first steps of a random
    projector undo what ImageNet taught; then both for `epochs`, cosine schedules counted in steps.
    `frozen_batchnorm` keeps the encoder's batch-norm statistics and uses them as at inference.
    `temperature` is SimCLR's; `teacher_momentum` is where BYOL's teacher begins, to end at 1.
    """

    method: Literal["simclr", "byol"] = "simclr"
    epochs: int = 10
    batch_size: int = 128
    temperature: float = 0.2
    teacher_momentum: float = 0.99
    projector_epochs: int = 5
    encoder_rate: float = 0.003
    projector_rate: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 0.0
    frozen_batchnorm: bool = True
    projector_width: int = 512
    projection_dim: int = 128
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class ClassifyOptions:
    """Few-label evaluation: `draws` random label sets for each number of labels per class."""

    labels_per_class: tuple[int, ...] = (5, 10, 20, 25, 50, 100)
    draws: int = 5
    starts: tuple[Literal["random", "imagenet", "continued"], ...] = ("random", "imagenet", "continued")
    resamples: int = 1000
    transductive: bool = False


@dataclass(frozen=True)
class RankOptions:
    """Anomaly ranking: mean distance to the `neighbours` nearest others, and isolation by `trees` random trees."""

    detectors: tuple[Literal["knn", "isolation_forest"], ...] = ("knn", "isolation_forest")
    neighbours: int = 10
    trees: int = 300


@dataclass(frozen=True)
class ReportOptions:
    """The page: how many anomalies it shows as pictures, and how many objects get a thumbnail on the map."""

    top: int = 60
    thumbnails: int = 20_000


@dataclass(frozen=True)
class FineTuneOptions:
    """Fine-tuning on labelled images: a linear layer first, then the encoder with it.

    `encoder_rate` and `head_rate` are AdamW's, after an epoch of warm-up and falling to 0 by a cosine over `epochs`.
    `held_out` is the share of the labelled rows that chooses the epoch; training stops when `patience` epochs brought
    no better one. Where there are too few rows to hold any out, `epochs_without_choice` epochs are trained.
    `head_c` is the inverse strength of the linear layer's L2 penalty, as the linear probe's; `weight_decay` the
    encoder's.
    """

    epochs: int = 20
    batch_size: int = 16
    encoder_rate: float = 1e-4
    head_rate: float = 1e-3
    weight_decay: float = 0.0
    head_c: float = 0.01
    held_out: float = 0.2
    patience: int = 5
    epochs_without_choice: int = 5
