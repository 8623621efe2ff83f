"""What is particular to each self-supervised method, a table of the recipe each. Frozen; imports no torch.

What several methods share (temperature, teacher_momentum, projector_width, projection_dim) is in `PretrainOptions`.
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AutoencoderOptions:
    """Of `autoencoder` and `denoising_autoencoder`: a decoder for each size of bottleneck, all on one encoder.

    Without any, the encoder's own features are the code (of a dense encoder, the paper's denoising autoencoder).
    """

    codes: tuple[int, ...] = (2, 8, 32)


@dataclass(frozen=True)
class DenoisingOptions:
    """Corruption of the input: `strength` is sigma of Gaussian noise in units of the image's own spread, or the share
    of pixels that are masked or set to black and white; alpha and beta weigh the corrupted pixels and the others."""

    corruption: Literal["gaussian", "masking", "salt_and_pepper"] = "masking"
    strength: float = 0.5
    alpha: float = 1.0
    beta: float = 1.0


def denoising_problems(options: DenoisingOptions) -> list[str]:
    """What is wrong with a recipe's `pretrain.denoising_autoencoder`, a line each with key, value and remedy."""
    name = "pretrain.denoising_autoencoder"
    found = []
    if not 0 < options.strength < math.inf:
        found.append(f"{name}.strength: {options.strength} corrupts nothing; give a number above 0")
    elif options.corruption != "gaussian" and options.strength > 1:
        found.append(
            f"{name}.strength: {options.strength} is no share of the pixels; give at most 1, or corruption = 'gaussian'"
        )
    for key in ("alpha", "beta"):
        if not 0 <= getattr(options, key) < math.inf:
            found.append(f"{name}.{key}: {getattr(options, key)} is no weight; give 0 or more")
    if options.alpha == 0 and (options.beta == 0 or options.corruption == "gaussian"):
        found.append(f"{name}.alpha: 0 leaves no pixel that counts; give a number above 0")
    if options.corruption == "gaussian" and options.beta != DenoisingOptions.beta:
        found.append(
            f"{name}.beta: {options.beta} weighs pixels that are not corrupted, and Gaussian noise leaves none; "
            f"leave it at {DenoisingOptions.beta}, or choose corruption = 'masking'"
        )
    return found


@dataclass(frozen=True)
class SparseOptions:
    """A code of `latent` units that are mostly silent; of a `sigmoid_` encoder, the encoder's own units are the code.

    `weight` is of the penalty beside the mean squared error: "l1", the sum of the units; "kl", the sum of the
    divergences of their mean activations from `rho`. A mean is taken over the forwards of the past, each counting
    `memory` times the one after it.
    """

    penalty: Literal["l1", "kl"] = "kl"
    weight: float = 0.01
    rho: float = 0.05
    latent: int = 2048
    memory: float = 0.9


@dataclass(frozen=True)
class ContractiveOptions:
    """`weight` of the squared norm of the code's Jacobian beside the mean squared error.

    Of an encoder of one dense layer the code is its output, and the norm is exact; else the code has `latent` units
    and the norm is estimated along `probes` random directions a step.
    """

    weight: float = 0.1
    latent: int = 64
    probes: int = 2


@dataclass(frozen=True)
class VariationalOptions:
    """`beta` weighs the divergence from the prior, summed over the `latent` dimensions.

    Beside it stands the reconstruction's negative log-likelihood, summed over the pixels.
    """

    latent: int = 32
    beta: float = 1.0
    reconstruction: Literal["mse", "bce"] = "mse"


@dataclass(frozen=True)
class ContextEncoderOptions:
    """The hole (one in the centre, or random blocks) and the weight of the adversary beside that of L2.

    Blocks unless asked otherwise: a cutout's object stands in the centre, and nothing around tells what it is.
    """

    hole: Literal["centre", "blocks"] = "blocks"
    adversary: float = 0.001


@dataclass(frozen=True)
class ColorizationOptions:
    """Bands from their mean, as values or as `classes` of each band's difference from it, finest about 0."""

    target: Literal["regression", "classes"] = "regression"
    classes: int = 16


@dataclass(frozen=True)
class MAEOptions:
    """Masked share of the patches, above 0 and below 1, and the decoder, whose width is a multiple of 32."""

    mask_ratio: float = 0.75
    decoder_width: int = 128
    decoder_depth: int = 2


@dataclass(frozen=True)
class RelativePatchOptions:
    """A grid of 3 x 3 patches; gap and jitter are shares of a patch, the jitter at most half of the gap.

    `guards`: resampling and dropped bands, without which the shift between bands tells the place.
    """

    gap: float = 0.5
    jitter: float = 0.07
    guards: bool = True


@dataclass(frozen=True)
class JigsawOptions:
    """How many permutations of the nine patches are told apart; gap and jitter as of `relative_patch`."""

    permutations: int = 64
    gap: float = 0.17
    jitter: float = 0.08


@dataclass(frozen=True)
class ExemplarOptions:
    """How many images give a class of their own, and distortions of each a step.

    `colour`: how far each band's contrast (a factor of up to e to this power) and brightness (in units of its contrast)
    are changed; 0, not at all, since colours of galaxies mean something.
    """

    classes: int = 8000
    distortions: int = 2
    colour: float = 0.0


@dataclass(frozen=True)
class SiameseOptions:
    """The margin, and which of the lecture notes' two forms: distances as they are, or squared."""

    margin: float = 1.0
    form: Literal["plain", "squared"] = "squared"


@dataclass(frozen=True)
class TripletOptions:
    """The margin between squared distances, and which negatives."""

    margin: float = 0.2
    negatives: Literal["semi_hard", "hardest", "all"] = "semi_hard"


@dataclass(frozen=True)
class MoCoOptions:
    """Version 1 (linear projection) or 2 (a perceptron), and the length of the queue."""

    version: Literal[1, 2] = 2
    queue: int = 4096


@dataclass(frozen=True)
class CPCOptions:
    """A grid of overlapping patches a side, and how many rows ahead are predicted."""

    patches: int = 5
    ahead: int = 2


@dataclass(frozen=True)
class InfoMaxOptions:
    """Weights of the global and the local objective."""

    global_weight: float = 0.5
    local_weight: float = 1.0


@dataclass(frozen=True)
class DINOOptions:
    """Prototypes, temperatures of student and teacher, momentum of the centre, and local crops."""

    prototypes: int = 1024
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9
    local_crops: int = 4


@dataclass(frozen=True)
class IJEPAOptions:
    """Target blocks and their area, the context's area, and the predictor."""

    targets: int = 4
    target_area: tuple[float, float] = (0.15, 0.2)
    context_area: tuple[float, float] = (0.85, 1.0)
    predictor_width: int = 128
    predictor_depth: int = 3


@dataclass(frozen=True)
class SupervisedOptions:
    """The column of the catalog whose values are learnt as classes; none that is evaluated as a label."""

    column: str = ""
