"""How long and in which batches to pretrain, by the number of images: small cohorts need small steps, and many."""

import dataclasses

from domainssl.options import PretrainOptions

# Up to so many images: batch size, epochs of the projector alone, epochs with the encoder.
BY_SIZE: tuple[tuple[float, int, int, int], ...] = (
    (1_000, 32, 5, 20),
    (float("inf"), 128, 5, 10),
)


def scheduled(options: PretrainOptions, images: int) -> PretrainOptions:
    """The options with what is None filled in from `BY_SIZE`; what the recipe gives stays.

    Raises ValueError for fewer than 2 images.
    """
    if images < 2:
        raise ValueError(f"pretraining needs at least 2 images, got {images}; add images or use the start as it is")
    batch, projector, epochs = next(row[1:] for row in BY_SIZE if images <= row[0])
    defaults = {"batch_size": batch, "projector_epochs": projector, "epochs": epochs}
    return dataclasses.replace(
        options, **{name: value for name, value in defaults.items() if getattr(options, name) is None}
    )
