"""Parent galaxies of the simulated survey: rendered once by GalSim without noise, kept on disk."""

import hashlib
import multiprocessing
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import galsim
import numpy as np
import pandas as pd
from jaxtyping import Complex, Float, Float32

from catalogs.samples.galaxy_exposures import EXTINCTION, SKY_SIGMA
from catalogs.samples.galaxy_models import BANDS, PIXEL_ARCSEC, Component, Galaxy, Kind, draw_galaxy

# A block holds every kind; objects of one field come from one block, so that it is a group that shares no galaxy and
# no pixel with another.
BLOCK: tuple[Kind, ...] = (
    *("bulge", "bulge", "disk", "disk", "spiral", "spiral", "spiral", "edge_on"),
    *("ring", "merger"),
)
# A_band / E(B-V): SDSS ugriz as the small sample, LSST y (Schlafly & Finkbeiner 2011).
EXTINCTIONS: Mapping[str, float] = {**dict(zip(BANDS, EXTINCTION.tolist(), strict=True)), "y": 1.088}
# nJy in a pixel of 0.262 arcsec.
SKY_SIGMAS: Mapping[str, float] = {**dict(zip(BANDS, SKY_SIGMA.tolist(), strict=True)), "y": 150.0}
SEEING_ARCSEC: Mapping[str, float] = {"u": 1.2, "g": 1.13, "r": 1.05, "i": 1.0, "z": 0.96, "y": 0.94}

PAD = 8  # pixels around the cutout, so that a shifted parent still covers it
_TAPER = 3
_FURTHEST_ARCSEC = 63.0
_VERSION = 1  # raise it when parents would be rendered otherwise
_PSF = galsim.Moffat(beta=3.5, fwhm=1.0)


@final
@dataclass(frozen=True)
class SurveyOptions:
    """A simulated survey; two that differ in all but `seed`, `parents`, `overlap` and `anomalies` show the same sky.

    `bands` any of u g r i z y in any order; `pixel_scale` arcsec; `size` pixels a side; `psf_fwhm` arcsec by band, the
    missing ones from `SEEING_ARCSEC`; `noise` times the sky sigma of `SKY_SIGMAS`, which goes by the pixel's side
    (so depth per area is the same at every scale); `dust` times the drawn E(B-V), 0 for none; `overlap` the share of
    objects that share pixels with another; `anomalies` that of rings, mergers and artifacts together; `parents` how
    many galaxies are rendered, a multiple of 10. Raises ValueError for anything else.
    """

    seed: int = 0
    bands: tuple[str, ...] = ("g", "r", "z")
    pixel_scale: float | int = PIXEL_ARCSEC
    size: int = 128
    parents: int = 2000
    psf_fwhm: Mapping[str, float] = field(default_factory=dict)
    noise: float | int = 1.0
    dust: float | int = 1.0
    overlap: float | int = 0.2
    anomalies: float | int = 0.03

    def __post_init__(self) -> None:
        unknown = [band for band in (*self.bands, *self.psf_fwhm) if band not in EXTINCTIONS]
        if unknown or not self.bands or len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands = {''.join(self.bands)!r}: give some of {''.join(EXTINCTIONS)}, none twice")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: give 0 or a positive integer")
        if not 0.05 <= self.pixel_scale <= 2:
            raise ValueError(f"pixel_scale = {self.pixel_scale}: give 0.05 to 2 arcsec")
        if self.size < 32 or self.size * self.pixel_scale > _FURTHEST_ARCSEC:
            largest = int(_FURTHEST_ARCSEC / self.pixel_scale)
            raise ValueError(f"size = {self.size}: give 32 to {largest} pixels of {self.pixel_scale} arcsec")
        if self.parents < len(BLOCK) or self.parents % len(BLOCK):
            raise ValueError(f"parents = {self.parents}: give a multiple of {len(BLOCK)}")
        if any(not 0.2 <= fwhm <= 5 for fwhm in self.psf_fwhm.values()):
            raise ValueError(f"psf_fwhm = {dict(self.psf_fwhm)}: give 0.2 to 5 arcsec")
        if not self.noise > 0 or not self.dust >= 0:
            raise ValueError(f"noise = {self.noise}, dust = {self.dust}: give noise above 0 and dust from 0 up")
        if not 0 <= self.overlap <= 0.75 or not 0 <= self.anomalies <= 1:
            raise ValueError(f"overlap = {self.overlap}, anomalies = {self.anomalies}: give shares, overlap up to 0.75")

    @property
    def fwhm(self) -> Float[np.ndarray, " band"]:
        """FWHM of the PSF in arcsec."""
        return np.array([self.psf_fwhm.get(band, SEEING_ARCSEC[band]) for band in self.bands])

    @property
    def sky_sigma(self) -> Float[np.ndarray, " band"]:
        """Sky noise in nJy a pixel, before it varies from field to field."""
        return np.array([SKY_SIGMAS[band] for band in self.bands]) * (self.noise * self.pixel_scale / PIXEL_ARCSEC)

    @property
    def extinction(self) -> Float[np.ndarray, " band"]:
        """A_band / E(B-V)."""
        return np.array([EXTINCTIONS[band] for band in self.bands])


@final
@dataclass(frozen=True)
class Parents:
    """Rendered parents: `pixels` in nJy without noise or Galactic dust, `facts` one row a parent in the same order.

    Columns of `facts`: kind, redshift, mag_r (AB), ttype (-5 E to 7 Sd, NaN for rings and mergers), barred (bool), arms
    (2 to 4, 0 without).
    """

    pixels: Float32[np.ndarray, "parent band y x"]
    facts: pd.DataFrame


def draw_parent(seed: int, number: int) -> tuple[Galaxy, dict[str, object]]:
    """Parent `number` of a seed and its row of `Parents.facts`; the same whatever else is drawn."""
    kind = BLOCK[number % len(BLOCK)]
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0, number]))
    galaxy = draw_galaxy(kind, rng)
    red = [float(part.fluxes[BANDS.index("r")]) for part in galaxy.components]
    arms = _count_arms(galaxy.components[2]) if kind == "spiral" else 0
    facts: dict[str, object] = {
        "kind": kind,
        "redshift": galaxy.redshift,
        "mag_r": galaxy.mag_r,
        "ttype": _ttype(kind, red),
        "barred": kind == "spiral" and len(red) == 4,
        "arms": arms,
    }
    return galaxy, facts


def render(components: tuple[Component, ...], options: SurveyOptions, size: int) -> Float32[np.ndarray, "band y x"]:
    """Components in nJy through the survey's PSF and pixels, their origin on the centre of the image; no noise.

    The image is periodic in twice its size: wings that reach farther come back as a faint pedestal.
    """
    period, pixel = max(2 * size, 128), options.pixel_scale / PIXEL_ARCSEC
    half = galsim.BoundsI(0, period // 2, -period // 2, period // 2 - 1)  # a real image: kx >= 0 says it all

    def transform(profile: galsim.GSObject) -> Complex[np.ndarray, "ky kx"]:
        waves = galsim.ImageCD(half, scale=2 * np.pi / (period * pixel))
        return np.asarray(profile.drawKImage(image=waves, recenter=False).array)

    fluxes = np.stack([_in_bands(part.fluxes, options.bands) for part in components])
    light = np.einsum("cb,cyx->byx", fluxes, [transform(part.profile) for part in components], optimize=False)
    centre = pixel * ((size - 1) / 2 - size // 2)  # the transform's origin is pixel size // 2
    light *= transform(galsim.Pixel(pixel).shift(centre, centre))
    for plane, fwhm in zip(light, options.fwhm, strict=True):
        plane *= transform(_PSF.dilate(float(fwhm) / PIXEL_ARCSEC))
    image = np.fft.fftshift(np.fft.irfft2(np.fft.ifftshift(light, axes=1), s=(period, period)), axes=(1, 2))
    first = period // 2 - size // 2
    return image[:, first : first + size, first : first + size].astype(np.float32)


def load_parents(
    options: SurveyOptions,
    cache: Path,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Parents:
    """The parents of a survey, memory-mapped from `cache`; rendered by `workers` processes where they are not there.

    The file appears whole or not at all. `progress` gets the number of parents done so far.
    """
    path = cache / f"{_name(options)}.npy"
    facts = path.with_suffix(".parquet")
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _render_all(options, path, facts, workers, progress)
    return Parents(np.load(path, mmap_mode="r"), pd.read_parquet(facts))


def parents_bytes(options: SurveyOptions) -> int:
    """What the parents take on disk."""
    return options.parents * len(options.bands) * (options.size + 2 * PAD) ** 2 * 4


def _name(options: SurveyOptions) -> str:
    described = repr((_VERSION, options.fwhm.tolist(), options.parents))
    digest = hashlib.sha256(described.encode()).hexdigest()[:12]
    return f"parents-{options.seed}-{''.join(options.bands)}-{options.pixel_scale:g}-{options.size}-{digest}"


def _render_all(
    options: SurveyOptions, path: Path, facts: Path, workers: int, progress: Callable[[int], None] | None
) -> None:
    side = options.size + 2 * PAD
    part = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    shape = (options.parents, len(options.bands), side, side)
    try:
        np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape).flush()
        step = 5 * len(BLOCK)
        rows, done = [], 0
        for found in _each(options, part, step, workers):
            rows += found
            done += len(found)
            if progress is not None:
                progress(done)
        table = pd.DataFrame(rows).sort_values("parent", ignore_index=True).drop(columns="parent")
        unfinished = part.with_suffix(".parquet")
        table.to_parquet(unfinished, index=False)
        unfinished.replace(facts)
        part.replace(path)  # last: where it stands, both are whole
    finally:
        part.unlink(missing_ok=True)


def _each(options: SurveyOptions, part: Path, step: int, workers: int) -> Iterator[list[dict[str, object]]]:
    ranges = [(start, min(start + step, options.parents)) for start in range(0, options.parents, step)]
    if workers == 1:
        for start, stop in ranges:
            yield _render_some(options, part, start, stop)
        return
    # Spawned rather than forked: a fork of a process that has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        jobs = [pool.submit(_render_some, options, part, start, stop) for start, stop in ranges]
        for job in as_completed(jobs):
            yield job.result()


def _one_thread() -> None:
    galsim.utilities.set_omp_threads(1)


def _render_some(options: SurveyOptions, part: Path, start: int, stop: int) -> list[dict[str, object]]:
    """Renders parents start to stop into the file, and gives their facts."""
    pixels = np.lib.format.open_memmap(part, mode="r+")
    rows = []
    for number in range(start, stop):
        pixels[number], facts = render_parent(options, number)
        rows.append({"parent": number, **facts})
    pixels.flush()
    return rows


def render_parent(options: SurveyOptions, number: int) -> tuple[Float32[np.ndarray, "band y x"], dict[str, object]]:
    """Pixels of one parent, `PAD` wider than the cutout on every side and fading to 0 at the rim; and its facts."""
    galaxy, facts = draw_parent(options.seed, number)
    pixels = render(galaxy.components, options, options.size + 2 * PAD)
    ramp = np.ones(pixels.shape[-1], np.float32)
    ramp[:_TAPER] = (np.arange(_TAPER, dtype=np.float32) + 1) / (_TAPER + 1)
    ramp *= ramp[::-1]
    return pixels * ramp * ramp[:, None], facts


def _in_bands(fluxes: Float[np.ndarray, " five"], bands: tuple[str, ...]) -> Float[np.ndarray, " band"]:
    """Fluxes in the survey's bands; y goes on from z at half the slope of i to z, in magnitudes."""
    i, z = fluxes[BANDS.index("i")], fluxes[BANDS.index("z")]
    known = {**dict(zip(BANDS, fluxes.tolist(), strict=True)), "y": float(z * np.sqrt(z / i))}
    return np.array([known[band] for band in bands])


def _ttype(kind: Kind, red: list[float]) -> float:
    """T type (RC3) from the kind and the bulge's share of the light in r: the larger the bulge, the earlier."""
    total = sum(red)
    if kind == "bulge":
        return -5.0 if len(red) == 1 else -3.0
    if kind == "disk":
        return float(-np.clip(np.round(2 * red[1] / total / 0.35), 0, 2))
    if kind in ("spiral", "edge_on"):
        share = red[0 if kind == "spiral" else 1] / total
        return float(np.clip(np.round(7 - 6 * (share - 0.03) / 0.24), 1, 7))
    return float("nan")


def _count_arms(component: Component) -> int:
    """The number of arms of a face-on image of them: its strongest azimuthal frequency of 2, 3 and 4."""
    profile = component.profile
    while not isinstance(profile, galsim.InterpolatedImage):
        profile = profile.original
    image = profile.image.array
    middle = (len(image) - 1) / 2
    x, y = np.arange(len(image)) - middle, np.arange(len(image))[:, None] - middle
    ring = np.hypot(x, y).astype(int)
    strength = []
    for number in (2, 3, 4):
        wave = image * np.exp(-1j * number * np.arctan2(y, x))
        real, imaginary = (np.bincount(ring.ravel(), part.ravel()) for part in (wave.real, wave.imag))
        strength.append(float(np.hypot(real, imaginary).sum()))
    return 2 + int(np.argmax(strength))
