"""How to pretrain by the number of images: small cohorts need small batches, to have steps at all, and small rates."""

import dataclasses

from domainssl.options import PretrainOptions

# Up to so many images: batch size, epochs of the projector alone, epochs with the encoder, the encoder's peak rate.
BY_SIZE: tuple[tuple[float, int, int, int, float], ...] = (
    (5_000, 32, 5, 10, 0.001),
    (float("inf"), 128, 5, 10, 0.003),
)


def scheduled(options: PretrainOptions, images: int) -> PretrainOptions:
    """The options with what is None filled in from `BY_SIZE`; what the recipe gives stays.

    Raises ValueError for fewer than 2 images.
    """
    if images < 2:
        raise ValueError(f"pretraining needs at least 2 images, got {images}; add images or use the start as it is")
    batch_size, projector_epochs, epochs, encoder_rate = next(row[1:] for row in BY_SIZE if images <= row[0])
    return dataclasses.replace(
        options,
        batch_size=batch_size if options.batch_size is None else options.batch_size,
        projector_epochs=projector_epochs if options.projector_epochs is None else options.projector_epochs,
        epochs=epochs if options.epochs is None else options.epochs,
        encoder_rate=encoder_rate if options.encoder_rate is None else options.encoder_rate,
    )
