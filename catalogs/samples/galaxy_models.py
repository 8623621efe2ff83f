"""Simulated galaxies before the telescope: what each kind looks like, how bright, how large and of which colours.

Everything here is invented from round numbers of the field (sizes, colours, a flux-limited draw of redshifts). It is
made to look like a survey to a person and to a program; it measures nothing about the real sky.
Lengths are pixels of the survey, fluxes nJy (AB zero point 31.4), position angles radians from the x axis.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import galsim
import numpy as np
from jaxtyping import Float

Kind = Literal["bulge", "disk", "spiral", "edge_on", "ring", "merger", "artifact"]
KINDS: tuple[Kind, ...] = get_args(Kind)

BANDS = ("u", "g", "r", "i", "z")
PIXEL_ARCSEC = 0.262
ZERO_POINT = 31.4

# Magnitudes relative to r of a star-forming and of a passive population at rest, and how redshift reddens the latter.
_YOUNG = np.array([1.00, 0.25, 0.0, -0.12, -0.17])
_OLD = np.array([2.55, 0.80, 0.0, -0.39, -0.67])
_REDDENING_BY_REDSHIFT = np.array([2.4, 1.8, 0.0, -0.4, -0.6])
_COLOUR_SCATTER = np.array([0.15, 0.07, 0.0, 0.04, 0.06])

# Mean and spread of "age" (0 star-forming, 1 passive) by kind: they overlap, so that colour alone does not tell kinds.
_AGE: dict[Kind, tuple[float, float]] = {
    "bulge": (0.80, 0.25),
    "disk": (0.50, 0.28),
    "spiral": (0.38, 0.25),
    "edge_on": (0.50, 0.28),
    "ring": (0.35, 0.20),
    "merger": (0.35, 0.25),
}

# Limits of the survey: apparent r magnitude, and half-light radius in arcsec.
_MAGNITUDES = (15.8, 20.2)
_RADII = (1.35, 3.0)

_GRID = (np.arange(144) - 71.5) * 0.5  # pixels; twice the survey's sampling, so that tilted arms do not alias


@dataclass(frozen=True)
class Component:
    """Light of one shape and one spectrum: `profile` has unit flux; `fluxes` are nJy a band, above the atmosphere and
    before the dust of the Milky Way (negative for light that dust inside the galaxy takes away)."""

    profile: galsim.GSObject
    fluxes: Float[np.ndarray, " band"]


@dataclass(frozen=True)
class Galaxy:
    """A galaxy to be observed. `mag_r` is the AB magnitude of all components before Galactic extinction."""

    redshift: float
    mag_r: float
    half_light_px: float
    components: tuple[Component, ...]


@dataclass(frozen=True)
class _Spectra:
    """The colours shared by one galaxy's components: they differ by age alone."""

    redshift: float
    scatter: Float[np.ndarray, " band"]

    def fluxes(self, mag_r: float, age: float) -> Float[np.ndarray, " band"]:
        colours = (1 - age) * _YOUNG + age * _OLD + self.scatter
        colours = colours + (0.3 + 0.7 * age) * self.redshift * _REDDENING_BY_REDSHIFT
        return np.asarray(10 ** (0.4 * (ZERO_POINT - mag_r - colours)))


def draw_galaxy(kind: Kind, rng: np.random.Generator) -> Galaxy:
    """A galaxy of one kind; "artifact" gives one of the four common kinds, to be spoilt by `galaxy_exposures.spoil`.

    Distance, luminosity and size are drawn together until the galaxy is bright and large enough for the survey, so
    that distant galaxies are fainter, smaller and redder, and intrinsically more luminous.
    """
    shape: Kind = KINDS[int(rng.integers(4))] if kind == "artifact" else kind
    redshift, mag_r, radius = _draw_appearance(rng)
    mean, spread = _AGE[shape]
    age = float(np.clip(rng.normal(mean, spread), -0.1, 1.1))
    spectra = _Spectra(redshift, _COLOUR_SCATTER * rng.normal(size=len(BANDS)))
    components = _SHAPES[shape](radius, mag_r, age, spectra, rng)
    return Galaxy(redshift, mag_r, radius, tuple(components))


def draw_neighbours(size: int, rng: np.random.Generator) -> tuple[Component, ...]:
    """Faint stars and small galaxies that happen to lie in a field of `size` pixels, none within 11 of its centre."""
    found = []
    for _ in range(int(rng.poisson(1.3 * (size / 64) ** 2))):
        position = rng.uniform(-size / 2, size / 2, 2)
        spectra = _Spectra(rng.uniform(0.0, 0.4), _COLOUR_SCATTER * rng.normal(size=len(BANDS)))
        fluxes = spectra.fluxes(rng.uniform(19.5, 23.0), rng.uniform(0.0, 1.2))
        if rng.random() < 0.4:
            profile = galsim.DeltaFunction()
        else:
            profile = galsim.Exponential(half_light_radius=rng.uniform(0.8, 2.5))
            profile = _tilted(profile, rng.uniform(0.4, 1.0), rng.uniform(0, np.pi))
        if np.hypot(*position) > 11:
            found.append(Component(profile.shift(*position), fluxes))
    return tuple(found)


def _draw_appearance(rng: np.random.Generator) -> tuple[float, float, float]:
    """Redshift, r magnitude and half-light radius in pixels of a galaxy that the survey's limits admit."""
    while True:
        redshift = 0.02 + 0.38 * rng.beta(1.6, 2.6)
        absolute = rng.normal(-20.6, 1.0)
        kiloparsecs = 4.8 * 10 ** (-0.16 * (absolute + 21) + rng.normal(0, 0.12))
        luminosity_mpc = 4283 * redshift * (1 + 0.775 * redshift)  # c/H0 for 70 km/s/Mpc, q0 = -0.55, to second order
        mag_r = absolute + 5 * np.log10(luminosity_mpc) + 25 + 1.0 * redshift
        arcsec = kiloparsecs * 206.265 / luminosity_mpc * (1 + redshift) ** 2
        if _MAGNITUDES[0] < mag_r < _MAGNITUDES[1] and _RADII[0] < arcsec < _RADII[1]:
            return redshift, float(mag_r), arcsec / PIXEL_ARCSEC


def _share(mag: float, fraction: float) -> float:
    return mag - 2.5 * float(np.log10(fraction))


def _tilted(profile: galsim.GSObject, axis_ratio: float, angle: float) -> galsim.GSObject:
    """A face-on shape seen at an inclination of cosine `axis_ratio`, of the same flux."""
    return profile.transform(1, 0, 0, axis_ratio).withFlux(1.0).rotate(angle * galsim.radians)


def _drawn(image: Float[np.ndarray, "y x"]) -> galsim.GSObject:
    """The unit-flux profile of an image on the model grid."""
    return galsim.InterpolatedImage(
        galsim.Image(image, scale=0.5),
        x_interpolant="linear",
        k_interpolant="cubic",  # with this pad within 0.3 percent of the default, which takes twice as long
        pad_factor=2.0,
        flux=1.0,
        calculate_stepk=False,
        calculate_maxk=False,
    )


def _blobs(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    sigma: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "y x"]:
    """Round Gaussians on the model grid, each of total light `weight`."""
    along_x = np.exp(-0.5 * ((_GRID - x[:, None]) / sigma[:, None]) ** 2) / sigma[:, None]
    along_y = np.exp(-0.5 * ((_GRID - y[:, None]) / sigma[:, None]) ** 2) / sigma[:, None]
    return np.asarray(np.einsum("n,ny,nx->yx", weight, along_y, along_x, optimize=False))  # no BLAS, hence no threads


def _bulge(radius: float, mag: float, age: float, spectra: _Spectra, rng: np.random.Generator) -> list[Component]:
    angle = rng.uniform(0, np.pi)
    index = (2.5, 3.0, 3.5, 4.0, 5.0)[int(rng.integers(5))]  # few values: GalSim tabulates each index once
    disk = rng.uniform(0.1, 0.35) if rng.random() < 0.35 else 0.0
    spheroid = _tilted(galsim.Sersic(index, half_light_radius=radius), rng.uniform(0.55, 1.0), angle)
    found = [Component(spheroid, spectra.fluxes(_share(mag, 1 - disk), age))]
    if disk > 0:
        envelope = _tilted(galsim.Exponential(half_light_radius=1.4 * radius), rng.uniform(0.5, 1.0), angle)
        found.append(Component(envelope, spectra.fluxes(_share(mag, disk), age - 0.15)))
    return found


def _disk(radius: float, mag: float, age: float, spectra: _Spectra, rng: np.random.Generator) -> list[Component]:
    angle, axis_ratio, bulge = rng.uniform(0, np.pi), rng.uniform(0.35, 1.0), rng.uniform(0.01, 0.35)
    disk = _tilted(galsim.Exponential(half_light_radius=1.1 * radius), axis_ratio, angle)
    core = _tilted(galsim.Sersic(2.0, half_light_radius=0.35 * radius), 0.5 + 0.5 * axis_ratio, angle)
    return [
        Component(disk, spectra.fluxes(_share(mag, 1 - bulge), age - 0.1)),
        Component(core, spectra.fluxes(_share(mag, bulge), age + 0.2)),
    ]


def _spiral(radius: float, mag: float, age: float, spectra: _Spectra, rng: np.random.Generator) -> list[Component]:
    """Bulge, bar in a third, smooth disk, and logarithmic arms with knots of young stars."""
    angle, axis_ratio = rng.uniform(0, np.pi), rng.uniform(0.5, 1.0)
    scale = 1.15 * radius / 1.678  # an exponential disk's half-light radius is 1.678 scale lengths
    bulge, arms = rng.uniform(0.06, 0.25), rng.uniform(0.35, 0.75)
    bar = rng.uniform(0.06, 0.14) if rng.random() < 0.35 else 0.0
    disk = 1 - bulge - bar
    found = [
        Component(
            _tilted(galsim.Sersic(2.0, half_light_radius=0.28 * radius), 0.5 + 0.5 * axis_ratio, angle),
            spectra.fluxes(_share(mag, bulge), age + 0.35),
        ),
        Component(
            _tilted(galsim.Exponential(scale_radius=scale), axis_ratio, angle),
            spectra.fluxes(_share(mag, disk * (1 - arms)), age + 0.1),
        ),
        Component(
            _tilted(_drawn(_spiral_arms(scale, rng)), axis_ratio, angle),
            spectra.fluxes(_share(mag, disk * arms), age - 0.25),
        ),
    ]
    if bar > 0:
        rod = galsim.Gaussian(half_light_radius=1.0).transform(0.9 * scale, 0, 0, 0.25 * scale).withFlux(1.0)
        rod = _tilted(rod.rotate(rng.uniform(0, np.pi) * galsim.radians), axis_ratio, angle)
        found.append(Component(rod, spectra.fluxes(_share(mag, bar), age + 0.3)))
    return found


def _spiral_arms(scale: float, rng: np.random.Generator) -> Float[np.ndarray, "y x"]:
    """Face-on arms of a disk of this scale length: phase m (theta - ln(R / R0) / tan(pitch)), wound either way."""
    number = int(rng.choice([2, 3, 4], p=[0.75, 0.15, 0.10]))
    pitch, start, handedness = np.deg2rad(rng.uniform(14, 30)), 0.8 * scale, rng.choice([-1.0, 1.0])
    radius = np.hypot(_GRID[:, None], _GRID[None, :])
    theta = np.arctan2(_GRID[:, None], _GRID[None, :])
    phase = number * (handedness * theta - np.log(radius / start) / np.tan(pitch)) + rng.uniform(0, 2 * np.pi)
    ridge = np.exp(rng.uniform(2.0, 4.0) * (np.cos(phase) - 1)) * (1 - np.exp(-((radius / start) ** 3)))
    arms = ridge * np.exp(-radius / (1.25 * scale))
    arms /= arms.sum()
    # Knots are born where the arms shine: places drawn in proportion to the square root of the arms' light.
    likely = np.cumsum(np.sqrt(arms * (radius > start)).ravel())
    places = np.searchsorted(likely, rng.uniform(0, likely[-1], 24))
    knots = _blobs(
        _GRID[places % len(_GRID)], _GRID[places // len(_GRID)], rng.uniform(0.6, 1.3, 24), rng.exponential(1.0, 24)
    )
    return np.asarray(arms + rng.uniform(0.08, 0.3) * knots / knots.sum())


def _edge_on(radius: float, mag: float, age: float, spectra: _Spectra, rng: np.random.Generator) -> list[Component]:
    """A thin disk at an inclination above 83 degrees, its bulge, and in half of them a lane of dust."""
    angle, scale, bulge = rng.uniform(0, np.pi), 1.25 * radius / 1.678, rng.uniform(0.03, 0.3)
    inclination, thickness = rng.uniform(83, 90) * galsim.degrees, rng.uniform(0.09, 0.17)

    def slab(thickness: float) -> galsim.GSObject:
        flat = galsim.InclinedExponential(inclination, scale_radius=scale, scale_h_over_r=thickness)
        return flat.rotate(angle * galsim.radians)

    lane = rng.uniform(0.05, 0.14) if rng.random() < 0.5 else 0.0  # the light in r that the dust takes
    light = spectra.fluxes(_share(mag, (1 - bulge) / (1 - lane)), age + 0.1)
    spheroid = _tilted(galsim.Sersic(2.0, half_light_radius=0.35 * radius), rng.uniform(0.6, 0.9), angle)
    found = [
        Component(slab(thickness), light),
        Component(spheroid, spectra.fluxes(_share(mag, bulge), age + 0.25)),
    ]
    if lane > 0:
        found.append(Component(slab(0.4 * thickness), -lane * np.array([1.4, 1.2, 1.0, 0.8, 0.6]) * light))
    return found


def _ring(radius: float, mag: float, age: float, spectra: _Spectra, rng: np.random.Generator) -> list[Component]:
    """An annulus of young stars around an old core, with little in between."""
    angle, axis_ratio, annulus = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0), rng.uniform(0.5, 0.75)
    outer = max(1.35 * radius, 8.5)  # a ring that the seeing fills is no ring to anyone
    distance = np.hypot(_GRID[:, None], _GRID[None, :])
    theta = np.arctan2(_GRID[:, None], _GRID[None, :])
    image = np.exp(-0.5 * ((distance - outer) / (rng.uniform(0.10, 0.17) * outer)) ** 2)
    image *= 1 + rng.uniform(0.0, 0.45) * np.cos(theta - rng.uniform(0, 2 * np.pi))
    around = rng.uniform(0, 2 * np.pi, 10)
    knots = _blobs(outer * np.cos(around), outer * np.sin(around), rng.uniform(0.7, 1.4, 10), rng.exponential(1.0, 10))
    image = image / image.sum() + 0.2 * knots / knots.sum()
    core = _tilted(galsim.Sersic(2.5, half_light_radius=0.25 * outer), 0.5 + 0.5 * axis_ratio, angle)
    return [
        Component(_tilted(_drawn(image), axis_ratio, angle), spectra.fluxes(_share(mag, annulus), age - 0.2)),
        Component(core, spectra.fluxes(_share(mag, 1 - annulus), age + 0.45)),
    ]


def _merger(radius: float, mag: float, age: float, spectra: _Spectra, rng: np.random.Generator) -> list[Component]:
    """Two galaxies at one redshift, close enough to disturb each other, with one or two tidal tails."""
    tails, second = rng.uniform(0.15, 0.3), rng.uniform(0.25, 0.5)
    bodies = (_bulge, _disk, _spiral)
    one = bodies[int(rng.integers(3))](0.7 * radius, _share(mag, (1 - tails) * (1 - second)), age, spectra, rng)
    two = bodies[int(rng.integers(3))](0.55 * radius, _share(mag, (1 - tails) * second), age + 0.1, spectra, rng)
    direction, apart = rng.uniform(0, 2 * np.pi), max(rng.uniform(1.1, 1.9) * radius, 7.0)
    x, y = 0.5 * apart * np.cos(direction), 0.5 * apart * np.sin(direction)
    found = [Component(part.profile.shift(x, y), part.fluxes) for part in one]
    found += [Component(part.profile.shift(-x, -y), part.fluxes) for part in two]
    bend = rng.choice([-1.0, 1.0]) * rng.uniform(1.2, 2.4)
    image = _tidal_tail(direction, 0.5 * apart, bend, radius, rng)
    if rng.random() < 0.5:
        image = image + 0.7 * _tidal_tail(direction + np.pi, 0.5 * apart, bend, radius, rng)
    return [*found, Component(_drawn(image), spectra.fluxes(_share(mag, tails), age - 0.1))]


def _tidal_tail(
    direction: float, start: float, bend: float, radius: float, rng: np.random.Generator
) -> Float[np.ndarray, "y x"]:
    """A curved stream from (start, direction) outwards: it turns by `bend` radians, widens and fades."""
    along = np.linspace(0, 1, 70)
    distance = start + along * rng.uniform(1.6, 2.4) * max(radius, 6.0)
    turned = direction + bend * along
    return _blobs(distance * np.cos(turned), distance * np.sin(turned), 1.0 + 1.2 * along, 1 - 0.7 * along)


_SHAPES = {
    "bulge": _bulge,
    "disk": _disk,
    "spiral": _spiral,
    "edge_on": _edge_on,
    "ring": _ring,
    "merger": _merger,
}
