"""Duplicates: by position as friends, by image through re-encoding and stretches, without merging other galaxies."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogs.duplicates import duplicate_images, duplicate_positions, image_fingerprint


def stars(seed: int, size: int = 64) -> np.ndarray:
    """A blob in the middle, three bands, and a sky of its own."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    blob = np.exp(-(x**2 + y**2) / (size / 5) ** 2)
    smooth = np.kron(generator.normal(size=(3, size // 4, size // 4)), np.ones((4, 4)))
    return (blob + 0.05 * smooth + 0.02 * generator.normal(size=(3, size, size))).astype(np.float32)


def bits(fingerprint: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(fingerprint, np.uint8)[32:])


def test_positions() -> None:
    ra = np.array([10.0, 359.9999, 10.0, np.nan, 0.0001, np.nan, 50.0])
    dec = np.array([5.0, 0.0, 5.0002, 1.0, 0.0, 1.0, 5.0])
    assert [group.tolist() for group in duplicate_positions(ra, dec, 1)] == [[0, 2], [1, 4]]
    assert duplicate_positions(ra, dec, 0.1) == []
    with pytest.raises(ValueError, match="radius_arcsec is 0; give a positive one"):
        duplicate_positions(ra, dec, 0)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 8), max_size=20))
def test_equal_pixels_are_always_found_and_others_never(seeds: list[int]) -> None:
    found = duplicate_images([image_fingerprint(stars(seed)) for seed in seeds])
    expected = [[row for row, seed in enumerate(seeds) if seed == one] for one in dict.fromkeys(seeds)]
    assert [group.tolist() for group in found] == [rows for rows in expected if len(rows) > 1]


def test_blank_images_are_compared_by_their_pixels() -> None:
    blank = [np.full((1, 30, 30), value, np.float32) for value in (0, 0, 1, np.nan)]
    assert [group.tolist() for group in duplicate_images([image_fingerprint(image) for image in blank])] == [[0, 1]]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_a_stretch_changes_no_bit(seed: int) -> None:
    image = stars(seed)
    for other in (np.arcsinh(10 * image), 3 * image + 7, np.where(image > 0.9, image**2 + 0.09, image)):
        np.testing.assert_array_equal(bits(image_fingerprint(other.astype(np.float32))), bits(image_fingerprint(image)))
    half = image.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    assert (bits(image_fingerprint(half)) != bits(image_fingerprint(image))).sum() <= 40


def test_shapes_and_errors() -> None:
    for shape in ((1, 1, 1), (2, 3, 50), (1, 5, 5)):
        assert len(image_fingerprint(np.random.default_rng(0).normal(size=shape).astype(np.float32))) == 82
    with pytest.raises(ValueError, match="no pixels, and no fingerprint"):
        image_fingerprint(np.zeros((0, 4, 4), np.float32))
    assert duplicate_images([]) == []


def test_many_images_with_one_key_take_no_quadratic_time() -> None:
    generator = np.random.default_rng(0)
    same = image_fingerprint(stars(0))
    crowd = [generator.bytes(32) + same[32:] for _ in range(3000)]  # a survey's "no image here" picture, re-encoded
    assert [len(group) for group in duplicate_images(crowd)] == [3000]


@pytest.mark.parametrize("quality", [75, 85, 95])
def test_real_galaxies(quality: int, shared_data: Path) -> None:
    paths = sorted((shared_data / "galaxies/efigi/images").glob("*.jpg"))[:100]
    once, again = [], []
    for path in paths:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=quality)
        for picture, prints in ((image, once), (Image.open(encoded), again)):
            prints.append(image_fingerprint(np.asarray(picture, np.float32).transpose(2, 0, 1) / 255))
    assert duplicate_images(once) == []
    found = {tuple(group.tolist()) for group in duplicate_images(once + again)}
    assert found <= {(row, row + len(paths)) for row in range(len(paths))}
    assert len(found) >= 0.99 * len(paths)
