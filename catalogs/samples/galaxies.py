"""A simulated survey of galaxies as FITS files and a table: the sample of `domainssl demo galaxies`.

SIMULATED: every header says SIMULATED = T, every row of the table simulated = true. The galaxies are GalSim profiles
with invented sizes, colours and faults. What a method scores here shows that the program works, and is no measure of
its performance on real sky: the kinds are cleaner, the faults fewer and the sky kinder than in any survey.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pandas as pd
from astropy.io import fits
from jaxtyping import Float32

from catalogs.samples.galaxy_exposures import Conditions, draw_conditions, expose, spoil, with_noise
from catalogs.samples.galaxy_models import BANDS, KINDS, PIXEL_ARCSEC, ZERO_POINT, Kind, draw_galaxy, draw_neighbours

COMMON, RARE = KINDS[:4], KINDS[4:]
_COMMON_SHARES = (0.28, 0.25, 0.26, 0.21)
_RARE_SHARE = 0.008  # of each rare kind
_UNLABELLED_SHARE = 0.4  # of the common kinds
_PER_TILE = 10
_TILE_DEGREES = 0.5
_TILES_ACROSS, _TILES_UP = 500, 80
_LARGEST = _PER_TILE * _TILES_ACROSS * _TILES_UP


def write_galaxies(
    folder: Path,
    count: int,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    size: int = 64,
) -> Path:
    """Writes `count` simulated cutouts and their table, and returns the table's path, `folder/labels.csv`.

    Images are `folder/images/<tile>/<objid>.fits`: float32 nJy (AB zero point 31.4), axes band, y, x; bands u g r i z,
    one keyword a plane (BAND1 .. BAND5); `size` pixels of 0.262 arcsec a side, 64 to 512; a TAN WCS that puts the
    row's ra, dec (ICRS degrees) on the object's centre, within half a pixel of the image's. SKYSIGn (nJy) and PSFn
    (FWHM, pixels) are the values drawn for plane n, EBV is E(B-V); Galactic extinction is in the pixels.

    Columns of the table: objid (64 bits: read it as an integer), file (relative to `images`), tile (the group), ra,
    dec, redshift, label (bulge, disk, spiral, edge_on; empty for 40 percent of these and for the rare kinds), truth
    (every object's kind, with ring, merger and artifact, 0.8 percent each and at least 3 of each from 300 objects
    on), ebv, psf_fwhm_px_u .. psf_fwhm_px_z, mag_r (AB, before Galactic extinction), simulated.

    The same count, seed and size give the same files, whatever the `workers` (processes). `progress` is called in
    this process with the number of objects written so far. The table comes last, so where it stands all is written.
    Raises ValueError for a count, size or number of workers out of range, or a negative seed.
    """
    if not 1 <= count <= _LARGEST:
        raise ValueError(f"count = {count}: a simulated survey has 1 to {_LARGEST} objects")
    if not 64 <= size <= 512:
        raise ValueError(f"size = {size}: simulated cutouts are 64 to 512 pixels a side")
    if workers < 1:
        raise ValueError(f"workers = {workers}: give 1 for this process alone, or more")
    if seed < 0:
        raise ValueError(f"seed = {seed}: give 0 or a positive integer")
    path, unfinished = folder / "labels.csv", folder / "labels.csv.part"
    path.unlink(missing_ok=True)
    plan = _plan(count, seed)
    images = folder / "images"
    for tile in plan["tile"].unique():
        (images / tile).mkdir(parents=True, exist_ok=True)
    facts = []
    rows = [dict(zip(plan.columns, row, strict=True)) for row in plan.itertuples(index=False, name=None)]
    for fact in _written(rows, partial(_write_object, images, seed, size), workers):
        facts.append(fact)
        if progress is not None:
            progress(len(facts))
    table = pd.concat([plan, pd.DataFrame(facts)], axis=1)
    leading = ["objid", "file", "tile", "ra", "dec", "redshift", "label", "truth", "ebv"]
    columns = [*leading, *(f"psf_fwhm_px_{band}" for band in BANDS), "mag_r", "simulated"]
    table[columns].to_csv(unfinished, index=False)
    unfinished.replace(path)
    return path


def simulate(
    kind: Kind, seed: int, index: int, size: int
) -> tuple[Float32[np.ndarray, "band y x"], Conditions, Mapping[str, float]]:
    """Pixels of object `index` in nJy, the conditions drawn for it, and redshift, mag_r and the sub-pixel shift x, y.

    A function of its arguments alone; the objects of one tile (ten indices) share seeing and dust.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    tile_rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, index // _PER_TILE)))
    galaxy = draw_galaxy(kind, rng)
    conditions = draw_conditions(tile_rng, rng)
    x, y = rng.uniform(-0.5, 0.5, 2)
    components = (*galaxy.components, *draw_neighbours(size, rng))
    image = with_noise(expose(components, conditions, size, (float(x), float(y))), conditions, rng)
    if kind == "artifact":
        image = spoil(image, conditions, rng)
    facts = {"redshift": galaxy.redshift, "mag_r": galaxy.mag_r, "x": float(x), "y": float(y)}
    return image.astype(np.float32), conditions, facts


def _plan(count: int, seed: int) -> pd.DataFrame:
    """Which objects the survey has: identity, place, kind and label of each, without pixels."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    each = max(round(_RARE_SHARE * count), 3 if count >= 300 else 0)
    rare = [kind for kind in RARE for _ in range(each)]
    common = rng.choice(COMMON, count - len(rare), p=_COMMON_SHARES)
    truth = rng.permutation(np.array([*common, *rare], dtype=object))
    is_common = np.isin(truth.astype(str), COMMON)
    unlabelled = rng.permutation(np.flatnonzero(is_common))[: round(_UNLABELLED_SHARE * int(is_common.sum()))]
    label = np.where(is_common, truth, "")
    label[unlabelled] = ""

    index = np.arange(count)
    tile = index // _PER_TILE
    corner_ra = (120.0 + _TILE_DEGREES * (tile % _TILES_ACROSS)) % 360.0
    corner_dec = -20.0 + _TILE_DEGREES * (tile // _TILES_ACROSS)
    inside = rng.uniform(0.02, _TILE_DEGREES - 0.02, (2, count))  # no cutout reaches over its tile's edge
    # Ids above 2**53 that differ in the last bits: one that passed through a float is another object's.
    objid = (1 << 60) + ((seed & 0xFFFF) << 40) + tile * 4096 + index % _PER_TILE
    names = [_tile_name(ra, dec) for ra, dec in zip(corner_ra.tolist(), corner_dec.tolist(), strict=True)]
    return pd.DataFrame(
        {
            "index": index,
            "objid": objid.astype(np.int64),
            "file": [f"{name}/{number}.fits" for name, number in zip(names, objid.tolist(), strict=True)],
            "tile": names,
            "ra": np.round(corner_ra + inside[0], 7),
            "dec": np.round(corner_dec + inside[1], 7),
            "label": label,
            "truth": truth,
            "simulated": "true",
        }
    )


def _tile_name(ra: float, dec: float) -> str:
    """The name of a tile by its corner, as the Legacy Surveys name bricks: 1205m195 is ra 120.5, dec -19.5."""
    return f"{round(10 * ra):04d}{'p' if dec >= 0 else 'm'}{round(10 * abs(dec)):03d}"


def _written(
    rows: list[dict[str, Any]], write: Callable[[dict[str, Any]], dict[str, float]], workers: int
) -> Iterator[dict[str, float]]:
    if workers == 1:
        yield from map(write, rows)
        return
    # Spawned rather than forked: a fork of a process that has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        yield from pool.map(write, rows, chunksize=min(32, -(-len(rows) // workers)))


def _one_thread() -> None:
    """GalSim's own threads are the only ones here: numpy's FFT and einsum have none."""
    galsim.utilities.set_omp_threads(1)


def _write_object(images: Path, seed: int, size: int, row: dict[str, Any]) -> dict[str, float]:
    """Writes one file, and returns what the table says about it beyond the plan."""
    pixels, conditions, facts = simulate(row["truth"], seed, row["index"], size)
    header = fits.Header()
    header["HIERARCH SIMULATED"] = (True, "simulated with GalSim, not the real sky")
    header["OBJECT"] = str(row["objid"])
    header["BUNIT"] = "nJy"
    header["MAGZERO"] = (ZERO_POINT, "AB magnitude of 1 nJy")
    header["FILTER"] = "".join(BANDS)
    for plane, band in enumerate(BANDS):
        header[f"BAND{plane + 1}"] = band
        header[f"PSF{plane + 1}"] = (round(float(conditions.psf_fwhm_px[plane]), 4), "PSF FWHM in pixels")
        header[f"SKYSIG{plane + 1}"] = (round(float(conditions.sky_sigma[plane]), 4), "sky noise per pixel in nJy")
    header["EBV"] = (round(conditions.ebv, 5), "E(B-V) of the Milky Way in mag")
    centre = ((size + 1) / 2 + facts["x"], (size + 1) / 2 + facts["y"])
    header["CTYPE1"], header["CRVAL1"], header["CRPIX1"] = "RA---TAN", row["ra"], centre[0]
    header["CTYPE2"], header["CRVAL2"], header["CRPIX2"] = "DEC--TAN", row["dec"], centre[1]
    header["CDELT1"], header["CDELT2"] = -PIXEL_ARCSEC / 3600, PIXEL_ARCSEC / 3600
    header["CUNIT1"] = header["CUNIT2"] = "deg"
    header["RADESYS"] = "ICRS"
    fits.PrimaryHDU(pixels, header).writeto(images / row["file"], overwrite=True)
    widths = {f"psf_fwhm_px_{b}": round(float(w), 4) for b, w in zip(BANDS, conditions.psf_fwhm_px, strict=True)}
    return {
        "redshift": round(facts["redshift"], 5),
        "mag_r": round(facts["mag_r"], 4),
        "ebv": round(conditions.ebv, 5),
        **widths,
    }
