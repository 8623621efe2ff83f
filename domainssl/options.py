"""The options of every step, as a recipe gives them. Frozen; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from domainssl.method_options import (
    AutoencoderOptions,
    ColorizationOptions,
    ContextEncoderOptions,
    ContractiveOptions,
    CPCOptions,
    DenoisingOptions,
    DINOOptions,
    ExemplarOptions,
    IJEPAOptions,
    InfoMaxOptions,
    JigsawOptions,
    MAEOptions,
    MoCoOptions,
    RelativePatchOptions,
    SiameseOptions,
    SparseOptions,
    SupervisedOptions,
    TripletOptions,
    VariationalOptions,
)

Kind = Literal["classes", "yes_no", "multilabel", "ordered", "real", "votes"]
# The heads of every kind of label, the first one being the one that predicts; see domainssl/evaluation/task.py.
HEADS: Mapping[Kind, tuple[str, ...]] = {
    "classes": ("linear", "prototype", "knn", "lda", "propagation", "self_training"),
    "yes_no": ("linear", "prototype", "knn", "lda", "propagation", "self_training"),
    "multilabel": ("linear", "knn"),
    "ordered": ("ordinal", "knn"),
    "real": ("ridge", "knn"),
    "votes": ("dirichlet", "linear", "knn"),
}
# Heads that take part only where a recipe names them: dear, and no better on the galaxies and radiographs they were
# measured on (domainssl/heads/semi_supervised.py).
ON_REQUEST = ("self_training",)
CONSISTENCY_KINDS = ("classes", "yes_no")  # which have the head that classify.consistency adds
STARTS = ("random", "imagenet", "scratch", "continued")
SaliencyMethod = Literal["grad_cam", "occlusion", "attention"]


@dataclass(frozen=True)
class StoreOptions:
    """How cutouts are laid down: `size` pixels a side; `crop` source pixels are cut from the centre first, if given.

    `arcsec` in place of `crop`: the side on the sky, so that images of different pixel scales come to one. Objects with
    a position and no group are kept together by tiles of the sky of about `tile_deg` degrees a side. `duplicates`:
    images are compared, and those that stand there twice reported; it takes about as long as reading them.
    Of radiographs: `window`, the policy by which all become grey ("auto": declared windows where every file has one,
    else percentiles), and `marks`: where some images have letters burned in near the border, that region is hidden in
    all.
    """

    size: int = 128
    crop: int | None = None
    arcsec: float | None = None
    tile_deg: float = 0.25
    duplicates: bool = True
    window: Literal["auto", "declared", "percentiles"] = "auto"
    marks: Literal["hide", "keep"] = "hide"


@dataclass(frozen=True)
class EncoderOptions:
    """A timm encoder. `weights`: "imagenet", "none" (random), or the path of a .safetensors file.

    `stretch` of linear images, band by band in units of the sky sigma: "asinh", or "linear", cut off at bright cores.
    `precision` "timed": a run times which number format this machine is clearly faster in, so that two runs on busy or
    different machines may differ by what bfloat16 leaves out; name a format where their numbers are compared.
    """

    name: str = "tf_efficientnet_lite0"
    weights: str = "imagenet"
    size: int = 96
    stretch: Literal["asinh", "linear"] = "asinh"
    precision: Literal["timed", "float32", "bfloat16"] = "timed"


@dataclass(frozen=True)
class PretrainOptions:
    """Continued self-supervised pretraining.

    The projector alone is trained for `projector_epochs`, with the encoder frozen, since the first steps of a random
    projector undo what ImageNet taught; then both for `epochs`, cosine schedules counted in steps.
    `frozen_batchnorm` keeps the encoder's batch-norm statistics and uses them as at inference; None: where it starts
    from trained weights. `images` or `seconds` is a budget in place of `epochs`: images seen in all, or as many as one
    machine, timed once, takes in that time; the projector's epochs keep their share of it.
    `method` is one of `domainssl.methods.registry.METHODS`, and the table of its name holds what is particular to it.
    `temperature` is that of similarities; `teacher_momentum` is where a teacher begins, to end at 1.
    `epochs`, `batch_size`, `projector_epochs`, `optimiser` and the rates None: what `domainssl.schedule` gives for this
    method and number of images.
    `without` names views that are left out, to see which one matters. `guard`: how harm is noticed and the best of
    start and checkpoints chosen: on labels of the training half ("labels", where there are none label-free), without
    them ("label_free"), or not ("off": the last epoch is exported).
    """

    method: str = "simclr"
    epochs: int | None = None
    images: int | None = None
    seconds: float | None = None
    batch_size: int | None = None
    temperature: float = 0.2
    teacher_momentum: float = 0.99
    projector_epochs: int | None = None
    optimiser: Literal["sgd", "adamw"] | None = None
    encoder_rate: float | None = None
    projector_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    frozen_batchnorm: bool | None = None
    projector_width: int = 512
    projection_dim: int = 128
    checkpoint_minutes: float = 2.0
    without: tuple[str, ...] = ()
    guard: Literal["labels", "label_free", "off"] = "labels"
    autoencoder: AutoencoderOptions = AutoencoderOptions()
    denoising_autoencoder: DenoisingOptions = DenoisingOptions()
    sparse_autoencoder: SparseOptions = SparseOptions()
    contractive_autoencoder: ContractiveOptions = ContractiveOptions()
    variational_autoencoder: VariationalOptions = VariationalOptions()
    context_encoder: ContextEncoderOptions = ContextEncoderOptions()
    colorization: ColorizationOptions = ColorizationOptions()
    mae: MAEOptions = MAEOptions()
    relative_patch: RelativePatchOptions = RelativePatchOptions()
    jigsaw: JigsawOptions = JigsawOptions()
    exemplar: ExemplarOptions = ExemplarOptions()
    siamese: SiameseOptions = SiameseOptions()
    triplet: TripletOptions = TripletOptions()
    moco: MoCoOptions = MoCoOptions()
    cpc: CPCOptions = CPCOptions()
    deep_infomax: InfoMaxOptions = InfoMaxOptions()
    dino: DINOOptions = DINOOptions()
    ijepa: IJEPAOptions = IJEPAOptions()
    supervised: SupervisedOptions = SupervisedOptions()


@dataclass(frozen=True)
class ClassifyOptions:
    """Few-label evaluation: `draws` random label sets for each number of labels per class.

    `starts`: "random", "imagenet", "scratch" (self-supervised from random weights), "continued", or names of [start].
    `heads`: empty for all that a kind of label has but those of ON_REQUEST, the first of them being the one that
    predicts; `fine_tuning` draws of fine-tuning beside them, since it is dear. `consistency`: a head of classes and
    yes/no beside them, trained on so many strongly changed views of each image of the training half; 0: none.
    Heads are compared on the last layer's features, and `features` by the first head; `cross` compares every head on
    every kind of features.
    `draw`: balanced by class, or at natural prevalence. `unit`: what is scored, an image, a study or a patient (the
    group), whose images' scores are joined by `aggregate`. `specificity` is where sensitivity is measured.
    `primary_labels`: the number of labels of the primary endpoint; None: 20, or the next below that is measured.
    `metadata`: columns of the catalog on which a baseline without any image is built. `unlabelled`: how many further
    objects of the training half may be seen by heads that learn from unlabelled ones (propagation, self_training,
    consistency).
    `subgroups`: columns by which scores are split beside the usual ones (sex, age, view, site, scanner; brightness,
    size, redshift). `transfer`: the column whose levels heads learn at and are tested at, each on each; "" for none.
    `cues`: how many labelled images are embedded again, once without texture and once without shape (and in radiographs
    whose marks are kept, once without these), to see by which the head goes; 0: none. A thousand images of 96 pixels
    take 20 s of one core.
    """

    labels_per_class: tuple[int, ...] = (5, 10, 20, 25, 50, 100)
    draws: int = 20
    draw: tuple[Literal["balanced", "natural"], ...] = ("balanced",)
    starts: tuple[str, ...] = ("random", "imagenet", "continued")
    features: tuple[Literal["last", "stages", "symmetry"], ...] = ("last",)
    heads: tuple[str, ...] = ()
    cross: bool = False
    fine_tuning: int = 0
    consistency: int = 0
    unit: Literal["image", "study", "patient"] = "image"
    aggregate: Literal["mean", "max"] = "mean"
    specificity: float = 0.9
    primary_labels: int | None = None
    metadata: tuple[str, ...] = ()
    unlabelled: int = 2000
    cues: int = 1000
    resamples: int = 1000
    transductive: bool = False
    subgroups: tuple[str, ...] = ()
    transfer: str = "site"


@dataclass(frozen=True)
class RankOptions:
    """Anomaly ranking: mean distance to the `neighbours` nearest others, and isolation by `trees` random trees."""

    detectors: tuple[Literal["knn", "isolation_forest"], ...] = ("knn", "isolation_forest")
    neighbours: int = 10
    trees: int = 300


@dataclass(frozen=True)
class ReportOptions:
    """The page: how many anomalies it shows as pictures, and how many objects get a thumbnail on the map.

    `saliency` adds maps of what answers come from, of `saliency_objects` objects of the test half a label; they take
    seconds ("grad_cam", "attention") or minutes ("occlusion").
    """

    top: int = 60
    thumbnails: int = 20_000
    saliency: Literal["off", "grad_cam", "occlusion", "attention"] = "off"
    saliency_objects: int = 12


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
