"""What the accuracy of telling rotations says about images that should have no direction. Imports no torch."""

from scipy.stats import binomtest

CHANCE = 0.25
SIGNIFICANT = 0.01


def orientation_leak(accuracy: float, images: int) -> str | None:
    """A sentence if rotations of `images` unseen images were told more often than by chance; else None.

    `accuracy` is the share of right answers over all four rotations of each image (`accuracy_unseen` of `rotation`).
    The four answers on an image hang together, so that an image counts as one trial of a binomial test, one-sided, at
    the level of 1 percent; that errs towards silence. None without images.
    """
    if images < 1:
        return None
    chance = float(binomtest(round(accuracy * images), images, CHANCE, alternative="greater").pvalue)
    if chance >= SIGNIFICANT:
        return None
    return (
        f"Rotations of unseen images were told with an accuracy of {accuracy:.2f}, above the chance of {CHANCE} "
        f"({images} images, p = {chance:.1g}): something in the images has a direction. On survey data, whose objects "
        "lie every way, that is an orientation leak, such as a gradient of the sky, a trail or a detector's columns."
    )
