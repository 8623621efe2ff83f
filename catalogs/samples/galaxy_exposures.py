"""Simulated exposures of model galaxies: seeing, dust of the Milky Way, sky noise, and the ways an image is spoilt."""

from collections.abc import Sequence
from dataclasses import dataclass

import galsim
import numpy as np
from jaxtyping import Complex, Float

from catalogs.samples.galaxy_models import BANDS, PIXEL_ARCSEC, Component

# A_band = R E(B-V) for SDSS u g r i z: the coefficients with which Hayat et al. 2021 deredden.
EXTINCTION = np.array([4.239, 3.303, 2.285, 1.698, 1.263])
SKY_SIGMA = np.array([40.0, 24.0, 34.0, 52.0, 86.0])  # nJy a pixel, about twice the noise of DECaLS
_WAVELENGTH_NM = np.array([355.0, 475.0, 620.0, 760.0, 905.0])
_PSF = galsim.Moffat(beta=3.5, fwhm=1.0)  # dilated to each band's seeing: GalSim tabulates its transform once
_SHOWN = (1, 2)  # g or r, where every composite shows a fault


@dataclass(frozen=True)
class Conditions:
    """What lay between a galaxy and the detector: PSF FWHM in pixels, sky noise in nJy a pixel, E(B-V) in mag."""

    psf_fwhm_px: Float[np.ndarray, " band"]
    sky_sigma: Float[np.ndarray, " band"]
    ebv: float


def draw_conditions(tile_rng: np.random.Generator, rng: np.random.Generator) -> Conditions:
    """Conditions of one object: seeing and dust are mostly its tile's, sky noise is its own within 30 percent.

    Seeing is wider in the blue as wavelength^-0.25. E(B-V) is lognormal with median 0.04 and shape 0.67 (the shape
    that Stein et al. 2021 fitted to the Legacy Surveys).
    """
    seeing_arcsec = float(np.clip(1.05 * np.exp(0.17 * tile_rng.normal()), 0.75, 1.9))
    by_band = (_WAVELENGTH_NM / 620.0) ** -0.25 * np.exp(0.05 * tile_rng.normal(size=len(BANDS)))
    ebv = 0.04 * float(np.exp(0.67 * tile_rng.normal() + 0.08 * rng.normal()))
    return Conditions(
        psf_fwhm_px=seeing_arcsec / PIXEL_ARCSEC * by_band * np.exp(0.02 * rng.normal(size=len(BANDS))),
        sky_sigma=SKY_SIGMA * rng.uniform(0.7, 1.3, len(BANDS)),
        ebv=ebv,
    )


def transmission(ebv: float) -> Float[np.ndarray, " band"]:
    """The fraction of light that Galactic dust of this E(B-V) lets through, in u g r i z."""
    return np.asarray(10 ** (-0.4 * EXTINCTION * ebv))


def expose(
    components: Sequence[Component],
    conditions: Conditions,
    size: int,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Float[np.ndarray, "band y x"]:
    """The image in nJy without noise: components through Galactic dust, a Moffat PSF and square pixels.

    The origin of the components falls on the centre of the image plus `shift` (x, y) pixels. A component is
    transformed once for all bands, and the image is periodic in at least twice its size: wings that reach farther
    come back as a faint pedestal.
    """
    period = max(2 * size, 128)
    half = galsim.BoundsI(0, period // 2, -period // 2, period // 2 - 1)  # a real image: kx >= 0 says it all

    def transform(profile: galsim.GSObject) -> Complex[np.ndarray, "ky kx"]:
        waves = galsim.ImageCD(half, scale=2 * np.pi / period)
        return np.asarray(profile.drawKImage(image=waves, recenter=False).array)

    fluxes = np.stack([part.fluxes for part in components]) * transmission(conditions.ebv)
    light = np.einsum("cb,cyx->byx", fluxes, [transform(part.profile) for part in components], optimize=False)
    centre = (size - 1) / 2 - size // 2  # the transform's origin is pixel size // 2; an even image's centre is not
    light *= transform(galsim.Pixel(1.0).shift(shift[0] + centre, shift[1] + centre))
    for plane, fwhm in zip(light, conditions.psf_fwhm_px, strict=True):
        plane *= transform(_PSF.dilate(float(fwhm)))
    image = np.fft.fftshift(np.fft.irfft2(np.fft.ifftshift(light, axes=1), s=(period, period)), axes=(1, 2))
    first = period // 2 - size // 2
    return np.asarray(image[:, first : first + size, first : first + size])


def with_noise(
    image: Float[np.ndarray, "band y x"], conditions: Conditions, rng: np.random.Generator
) -> Float[np.ndarray, "band y x"]:
    """The image with Gaussian sky noise; the galaxy's own photon noise is left out, as below the sky's."""
    return np.asarray(image + conditions.sky_sigma[:, None, None] * rng.normal(size=image.shape))


def spoil(
    image: Float[np.ndarray, "band y x"], conditions: Conditions, rng: np.random.Generator
) -> Float[np.ndarray, "band y x"]:
    """The image with one fault: a satellite's trail, cosmic rays, bad columns, or the ghost of a bright star."""
    fault = (_trail, _cosmic_rays, _bad_columns, _ghost)[int(rng.integers(4))]
    return np.asarray(image + conditions.sky_sigma[:, None, None] * fault(image.shape[-1], rng))


def _streak(
    size: int, middle: Float[np.ndarray, " 2"], angle: float, length: float, width: float
) -> Float[np.ndarray, "y x"]:
    """A straight line of peak 1 and Gaussian width, `length` pixels long around `middle` (x, y)."""
    x, y = np.arange(size) - middle[0], np.arange(size)[:, None] - middle[1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    beyond = np.maximum(np.abs(along) - length / 2, 0)
    return np.asarray(np.exp(-0.5 * (across**2 + beyond**2) / width**2))


def _trail(size: int, rng: np.random.Generator) -> Float[np.ndarray, "band y x"]:
    """Right across the image, in one band: each band is exposed at another time."""
    streak = _streak(size, size * rng.uniform(0.3, 0.7, 2), rng.uniform(0, np.pi), 3.0 * size, rng.uniform(1.0, 2.2))
    faults = np.zeros((len(BANDS), size, size))
    faults[int(rng.choice(_SHOWN))] = rng.uniform(15, 50) * streak
    return faults


def _cosmic_rays(size: int, rng: np.random.Generator) -> Float[np.ndarray, "band y x"]:
    """Sharper than any star, each in one band."""
    faults = np.zeros((len(BANDS), size, size))
    for _ in range(int(rng.integers(3, 7))):
        middle, angle = size * rng.uniform(0.15, 0.85, 2), rng.uniform(0, np.pi)
        streak = _streak(size, middle, angle, rng.uniform(2, 18), 0.5)
        faults[int(rng.integers(len(BANDS)))] += rng.uniform(40, 150) * streak
    return faults


def _bad_columns(size: int, rng: np.random.Generator) -> Float[np.ndarray, "band y x"]:
    """One to three neighbouring columns that read high from some row upwards, in one band."""
    faults = np.zeros((len(BANDS), size, size))
    first, bottom = int(size * rng.uniform(0.25, 0.7)), int(size * rng.uniform(0.0, 0.4))
    faults[int(rng.choice(_SHOWN)), bottom:, first : first + int(rng.integers(1, 4))] = rng.uniform(20, 80)
    return faults


def _ghost(size: int, rng: np.random.Generator) -> Float[np.ndarray, "band y x"]:
    """The out-of-focus pupil of a bright star: a wide flat annulus, in every band with another strength."""
    middle, outer = size * rng.uniform(0.2, 0.8, 2), size * rng.uniform(0.22, 0.4)
    distance = np.hypot(np.arange(size) - middle[0], np.arange(size)[:, None] - middle[1])
    annulus = 1 / (1 + np.exp(distance - outer)) - 1 / (1 + np.exp(distance - 0.35 * outer))
    return np.asarray(rng.uniform(3, 9, len(BANDS))[:, None, None] * annulus)
