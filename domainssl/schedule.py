"""How to pretrain, by the method and the number of images.

Small cohorts need small batches, to have steps at all, and small rates.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from domainssl.methods.registry import DENSE, METHODS, TRANSFORMERS, Family
from domainssl.options import PretrainOptions

# Up to so many images: batch size, epochs of the projector alone, epochs with the encoder, the encoder's peak rate.
BY_SIZE: tuple[tuple[float, int, int, int, float], ...] = (
    (5_000, 32, 5, 10, 0.001),
    (float("inf"), 128, 5, 10, 0.003),
)
# The optimiser, the encoder's peak rate (None: by size) and that of what is freshly made.
Rates = tuple[Literal["sgd", "adamw"], float | None, float]
USUAL: Mapping[str, Rates] = {"sgd": ("sgd", None, 0.03), "adamw": ("adamw", 1e-4, 1e-3)}
# On 2,251 galaxies, 100 s each, AdamW ended higher for BYOL, siamese, triplet, CPC and jigsaw, alike for rotation and
# relative patches, lower for Deep InfoMax and, by far, for exemplar. By SGD siamese collapsed on 335 radiographs,
# supervised on galaxies. SimCLR's rates by size were found for SGD.
BY_FAMILY: Mapping[Family, Rates] = dict.fromkeys(
    ("reconstruction", "supervised", "pairs", "pretext", "teacher and student"), USUAL["adamw"]
)
BY_METHOD: Mapping[str, Rates] = {"cpc": USUAL["adamw"], "exemplar": USUAL["sgd"]}  # unlike their families
BY_ENCODER: Mapping[str, Rates] = dict.fromkeys((*TRANSFORMERS, *DENSE), USUAL["adamw"])  # by how timm's name begins


def scheduled(options: PretrainOptions, images: int, *, encoder: str = "", trained: bool = True) -> PretrainOptions:
    """The options with what is None filled in from the tables above; what the recipe gives stays.

    `encoder` is timm's name of it: transformers and dense layers learn by AdamW whatever the method.
    `trained`: the encoder starts from weights that are worth keeping. A random one learns as fast as a fresh head, and
    its batch-norm statistics with it, since those that it begins with are of no image.
    Raises ValueError for fewer than 2 images.
    """
    if images < 2:
        raise ValueError(f"pretraining needs at least 2 images, got {images}; add images or use the start as it is")
    batch_size, projector_epochs, epochs, encoder_rate = next(row[1:] for row in BY_SIZE if images <= row[0])
    usual = BY_METHOD.get(options.method) or BY_FAMILY.get(METHODS[options.method].family, USUAL["sgd"])
    optimiser, rate, fresh_rate = next((BY_ENCODER[name] for name in BY_ENCODER if encoder.startswith(name)), usual)
    if options.optimiser not in (None, optimiser):
        assert options.optimiser is not None
        optimiser, rate, fresh_rate = USUAL[options.optimiser]
    if not trained:
        rate = fresh_rate

    def given(name: str, default: float | int) -> Any:
        value = getattr(options, name)
        return default if value is None else value

    return dataclasses.replace(
        options,
        optimiser=optimiser,
        batch_size=given("batch_size", batch_size),
        projector_epochs=given("projector_epochs", projector_epochs),
        epochs=given("epochs", epochs),
        encoder_rate=given("encoder_rate", encoder_rate if rate is None else rate),
        projector_rate=given("projector_rate", fresh_rate),
        frozen_batchnorm=given("frozen_batchnorm", trained),
    )
