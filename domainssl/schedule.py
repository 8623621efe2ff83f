"""How to pretrain by the number of images: small cohorts need small batches, so that there are steps, and small rates."""

import dataclasses

from domainssl.options import PretrainOptions

# Up to so many images: batch size, epochs of the projector alone, epochs with the encoder, the encoder's peak rate.
BY_SIZE: tuple[tuple[float, int, int, int, float], ...] = (
    (1_000, 32, 5, 10, 0.001),
    (float("inf"), 128, 5, 10, 0.003),
)


def scheduled(options: PretrainOptions, images: int) -> PretrainOptions:
    """The options with what is None filled in from `BY_SIZE`; what the recipe gives stays.

    Raises ValueError for fewer than 2 images.
    """
    if images < 2:
        raise ValueError(f"pretraining needs at least 2 images, got {images}; add images or use the start as it is")
    row = next(row for row in BY_SIZE if images <= row[0])
    names = ("batch_size", "projector_epochs", "epochs", "encoder_rate")
    given = {name: getattr(options, name) for name in names}
    filled = {name: default if given[name] is None else given[name] for name, default in zip(names, row[1:], strict=True)}
    return dataclasses.replace(options, **filled)
