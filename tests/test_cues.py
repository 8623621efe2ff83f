"""Images without texture or shape: what is taken is gone, what is left is left, and the same row is changed alike."""

import numpy as np
import torch

from domainssl.cues import COARSE, CUES, PIECES, ChangedImages, without_shape, without_texture
from domainssl.store import Batch


def batch(images: np.ndarray, valid: np.ndarray | None = None, rows: list[int] | None = None) -> Batch:
    pixels = torch.from_numpy(images.astype(np.float32))
    seen = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool) if valid is None else torch.from_numpy(valid)
    return Batch(pixels * seen, seen, {}, torch.tensor(rows or list(range(len(images)))))


def stripes(side: int = 64) -> np.ndarray:
    image = np.zeros((1, 1, side, side))
    image[..., ::2] = 1.0
    return image


def halves(side: int = 64) -> np.ndarray:
    image = np.zeros((1, 1, side, side))
    image[..., side // 2 :] = 1.0
    return image


def test_texture_goes_and_shape_stays() -> None:
    smooth = without_texture(batch(stripes())).images
    np.testing.assert_allclose(smooth, 0.5, atol=1e-6)
    shape = without_texture(batch(halves())).images.numpy()[0, 0]
    assert shape[:, :24].max() < 0.01
    assert shape[:, 40:].min() > 0.99
    assert np.corrcoef(shape.ravel(), halves()[0, 0].ravel())[0, 1] > 0.97


def test_shape_goes_and_texture_and_colours_stay() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((6, 3, 64, 64))
    images[:, :, :, 32:] += 2
    before = batch(images)
    after = without_shape(before)
    for one, other in zip(before.images, after.images, strict=True):
        together = [sorted(map(tuple, image.flatten(1).T.tolist())) for image in (one, other)]
        assert together[0] == together[1]  # the same pixels with the same colours, elsewhere
    flat = np.abs(after.images.numpy() - images).max(axis=(1, 2, 3))
    assert (flat > 1).all()
    assert len({tuple(image.flatten()[:50].tolist()) for image in after.images}) == 6
    np.testing.assert_array_equal(without_shape(batch(stripes())).images, stripes())


def test_the_same_row_is_changed_alike_in_any_batch() -> None:
    images = np.random.default_rng(1).random((4, 1, 40, 40))
    together = without_shape(batch(images, rows=[7, 8, 9, 10])).images
    alone = without_shape(batch(images[2:3], rows=[9])).images
    torch.testing.assert_close(together[2:3], alone)


def test_invalid_pixels_give_nothing_and_stay_invalid() -> None:
    rng = np.random.default_rng(2)
    images, valid = 5 + rng.random((3, 2, 50, 50)), np.ones((3, 1, 50, 50), bool)
    valid[:, :, :20] = False
    before = batch(images, valid)
    smooth = without_texture(before)
    assert torch.equal(smooth.valid, before.valid)
    assert (smooth.images[:, :, :20] == 0).all()
    assert smooth.images[:, :, 20:].min() > 5  # no darkness from beyond the edge
    moved = without_shape(before)
    assert torch.equal(moved.images == 0, ~moved.valid.expand_as(moved.images))
    assert moved.valid.sum() == before.valid.sum()
    nothing = without_texture(batch(images, np.zeros_like(valid)))
    assert (nothing.images == 0).all()


def test_changed_images_are_those_of_the_store_changed() -> None:
    images = np.random.default_rng(3).random((5, 1, 32, 32))

    class Held:
        def batch(self, rows: np.ndarray) -> Batch:
            return batch(images[rows], rows=rows.tolist())

    for change in CUES.values():
        found = ChangedImages(Held(), change).batch(np.array([3, 1]))
        torch.testing.assert_close(found.images, change(Held().batch(np.array([3, 1]))).images)
    assert COARSE == 8  # what the page says
    assert PIECES == 4
