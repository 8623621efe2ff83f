"""Every real multi-band file of the shared collection is read as its label says: the table of outcomes."""

from pathlib import Path

import numpy as np
import pytest

from catalogs.canonical import CatalogSource
from catalogs.columns import Columns
from catalogs.galaxies.reader import read_galaxies
from catalogs.reading import Cutout, Refusal, Request
from catalogs.tables import read_catalog

GRZ, GRIZY = ("g", "r", "z"), tuple("grizy")
# file: bands, an object an HDU, objects that are read, shape of the first, unit, arcsec a pixel (0: not said).
OUTCOMES = {
    "decals_grz/example_a.fits": (GRZ, False, 1, (424, 424), "nJy", 0.1),
    "decals_grz/example_b.fits": (GRZ, False, 1, (424, 424), "nJy", 0.101),
    "decals_grz/example_c.fits": (GRZ, False, 1, (424, 424), "nJy", 0.143),
    "decals_grz/example_bad_pix.fits": (GRZ, False, 1, (424, 424), "nJy", 0.130),
    "decals_grz/temp_small.fits": (GRZ, False, 1, (225, 225), "nJy", 0.262),
    "hsc_scarlet/Cut_HSC.fits": (GRIZY, False, 1, (50, 50), "", 0.168),
    "hsc_scarlet/Cut_HSC1.fits": (GRIZY, False, 1, (50, 50), "", 0.168),
    "hsc_scarlet/Cut_HST.fits": (("f814w",), False, 1, (250, 250), "", 0.03),
    "hsc_scarlet/Cut_HST1.fits": (("f814w",), False, 1, (250, 250), "", 0.03),
    "hsc_scarlet/hsc_cosmos.npz": (GRIZY, False, 1, None, "", 0),
    "hsc_scarlet/hsc_cosmos_35.npz": (GRIZY, False, 1, None, "", 0),
    "hst_cosmos/real_galaxy_images_extension.fits": (("f814w",), True, 100, None, "", 0),
    "sdss_ugriz/sdss_test_images.npy": (tuple("ugriz"), False, 20, (48, 48), "", 0),
}


MANY = "hst_cosmos/real_galaxy_images_extension.fits"  # a hundred images of which some are large


@pytest.mark.parametrize("file", [pytest.param(f, marks=pytest.mark.slow) if f == MANY else f for f in OUTCOMES])
def test_the_outcome_agrees_with_the_label(file: str, shared_data: Path, tmp_path: Path) -> None:
    bands, per_hdu, count, shape, unit, scale = OUTCOMES[file]
    path = shared_data / "galaxies" / "multiband" / file
    (tmp_path / path.name).symlink_to(path)
    rows = read_catalog(CatalogSource("s", None, tmp_path, Columns(), bands, object_per_hdu=per_hdu), ())
    answers = list(read_galaxies(rows, Request(bands)))
    read = [answer for answer in answers if isinstance(answer, Cutout)]
    assert len(read) == count, [answer for answer in answers if isinstance(answer, Refusal)][:3]
    first = read[0]
    assert first.bands == bands
    assert first.radiometry == "linear"
    assert shape is None or first.pixels.shape[1:] == shape
    assert first.unit == unit
    assert scale == 0 or first.pixel_scale == pytest.approx(scale, rel=0.01)
    for cutout in read:
        assert cutout.pixels.dtype == np.float32
        assert not np.isinf(cutout.pixels).any()
        assert min(cutout.pixels.shape[1:]) >= 8


def test_every_file_has_its_outcome(shared_data: Path) -> None:
    folder = shared_data / "galaxies" / "multiband"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files - {"labels.csv", "sdss_ugriz/sdss_test_labels.npy"} == set(OUTCOMES)
