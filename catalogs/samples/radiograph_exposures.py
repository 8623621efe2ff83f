"""From a simulated thorax to the picture that a detector and its processing would show, 0 (black) to 1 (white)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import gaussian_filter

from catalogs.samples.radiograph_anatomy import (
    Anatomy,
    Plane,
    Posture,
    View,
    airways,
    attenuation,
    body,
    lungs,
    mediastinum,
)
from catalogs.samples.radiograph_bones import bones
from catalogs.samples.radiograph_findings import (
    Findings,
    Rare,
    cables,
    cloud,
    effusion,
    enlarged,
    heart_ratio,
    metal,
    opacity,
    pacemaker,
)


@dataclass(frozen=True)
class Exposure:
    """How one radiograph was taken. Both sites draw from the same distributions."""

    shape: tuple[int, int]  # rows, columns
    pixel_cm: float
    rotation: float  # radians
    centre: tuple[float, float]  # x, y of the image's centre in cm
    scatter: float
    noise: float
    blur_px: float
    evening: float  # the part of the slow variation that processing takes out
    level: float  # attenuation shown as medium grey
    contrast: float
    gamma: float
    border: tuple[int, int, int, int]  # columns and rows that are collimated: left, right, top, bottom
    border_turn: float  # radians by which the blades stand askew


def draw_exposure(anatomy: Anatomy, view: View, size: int, rng: np.random.Generator) -> Exposure:
    """`size` is the longer side in pixels; bedside radiographs (AP) have less contrast and lie less straight."""
    bedside = view == "AP"
    short = round(size * float(np.clip(rng.normal(0.87, 0.05), 0.78, 0.96)))
    landscape = rng.random() < 0.2
    shape = (short, size) if landscape else (size, short)
    pixel_cm = anatomy.scale * rng.uniform(37.0, 42.5) / size
    middle = 0.5 * (anatomy.lung_height + anatomy.angle_drop) + 0.2
    border = rng.integers(2, max(size // 18, 4), 4) * (rng.random(4) < 0.75) * (rng.random() < 0.3)
    left, right, top, bottom = (int(width) for width in border)
    return Exposure(
        shape=shape,
        pixel_cm=pixel_cm,
        rotation=float(np.deg2rad(np.clip(rng.normal(0, 1.8 if bedside else 1.0), -3, 3))),
        centre=(float(rng.normal(0, 0.9)), middle + float(rng.normal(0, 1.0))),
        scatter=rng.uniform(0.35, 0.8) if bedside else rng.uniform(0.10, 0.35),
        noise=rng.uniform(0.003, 0.008) if bedside else rng.uniform(0.002, 0.005),
        blur_px=rng.uniform(0.5, 0.9) if bedside else rng.uniform(0.35, 0.7),
        evening=rng.uniform(0.15, 0.4),
        level=rng.uniform(-0.35, 0.35),
        contrast=float(np.exp(rng.normal(0.0, 0.12))) * (0.85 if bedside else 1.0),
        gamma=float(np.exp(rng.normal(0.0, 0.16))),
        border=(left, right, top, bottom),
        border_turn=float(rng.choice([0.0, 1.0]) * np.deg2rad(rng.uniform(-2.5, 2.5))),
    )


def expose(
    anatomy: Anatomy,
    findings: Findings,
    view: View,
    rare: Rare | None,
    exposure: Exposure,
    seed: np.random.SeedSequence,
) -> Plane:
    """The picture, bones bright, without borders. Each finding has its own random numbers: the rest stays the same."""
    posture_rng, effusion_rng, opacity_rng, texture_rng, thing_rng = map(np.random.default_rng, seed.spawn(5))
    x, y = coordinates(exposure)
    full = posture_rng.uniform(0.93, 1.03) if view == "PA" else posture_rng.uniform(0.84, 0.97)
    turned = float(posture_rng.normal(0, 0.35))
    white = anatomy.effusion_side if rare == "white_out" else 0
    posture = Posture(
        view=view,
        breath=full,
        turn=turned,
        heart_ratio=heart_ratio(anatomy, findings.cardiomegaly, view, posture_rng),
        mirrored=rare == "dextrocardia",
        shift=-1.6 * white,
    )
    found = lungs(anatomy, posture, x, y)
    lost = effusion(anatomy, found, findings.effusion, x, y, effusion_rng)
    patch = opacity(anatomy, found, findings.opacity, x, y, opacity_rng)
    if white:
        lost = np.maximum(lost, np.float32(0.94) * (x * white > -1.0))
    marks, fine = _markings(anatomy, exposure, texture_rng)
    air = found.thickness * (1 - lost)
    aerated = air / np.float32(0.6 * anatomy.depth)
    air = air * (1 - patch) * (1 + np.float32(0.035 * anatomy.texture) * fine)
    dense = attenuation(
        body(anatomy, posture, x, y) * (1 + 0.012 * cloud(exposure.shape, 24, texture_rng)),
        air,
        mediastinum(anatomy, posture, x, y),
        airways(anatomy, posture, x, y),
        marks * aerated * (1 - 0.5 * patch),
        bones(anatomy, posture, x, y),
    )
    if anatomy.pacemaker:
        dense = dense + pacemaker(anatomy, x, y)
    if view == "AP" and thing_rng.random() < 0.5:
        dense = dense + cables(anatomy, x, y, thing_rng)
    if rare == "metal":
        dense = dense + metal(anatomy, x, y, thing_rng)
    return _developed(dense, exposure, texture_rng)


def coordinates(exposure: Exposure) -> tuple[Plane, Plane]:
    """x and y in cm of every pixel."""
    rows, columns = exposure.shape
    across = (np.arange(columns, dtype=np.float32) - np.float32((columns - 1) / 2)) * np.float32(exposure.pixel_cm)
    down = (np.arange(rows, dtype=np.float32) - np.float32((rows - 1) / 2))[:, None] * np.float32(exposure.pixel_cm)
    c, s = np.float32(np.cos(exposure.rotation)), np.float32(np.sin(exposure.rotation))
    return (
        np.asarray(c * across + s * down + np.float32(exposure.centre[0]), np.float32),
        np.asarray(c * down - s * across + np.float32(exposure.centre[1]), np.float32),
    )


def _markings(anatomy: Anatomy, exposure: Exposure, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Vessels as thickness in cm, and the fine noise of the lungs' tissue."""
    rows, columns = exposure.shape
    pixel = np.float32(exposure.pixel_cm)
    x, y, radius = anatomy.vessels.T
    u, v = x - np.float32(exposure.centre[0]), y - np.float32(exposure.centre[1])
    c, s = np.float32(np.cos(exposure.rotation)), np.float32(np.sin(exposure.rotation))
    column = np.rint((c * u - s * v) / pixel + (columns - 1) / 2).astype(np.int64)
    row = np.rint((s * u + c * v) / pixel + (rows - 1) / 2).astype(np.int64)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    total = np.zeros(exposure.shape, np.float32)
    for low, high in ((0.0, 0.07), (0.07, 0.14), (0.14, 9.0)):
        chosen = inside & (radius >= low) & (radius < high)
        if not chosen.any():
            continue
        # A point stands for 0.13 cm of a rod whose cross-section is pi r^2: that much volume goes into the plane.
        volume = np.float32(0.13 * np.pi) * radius[chosen] ** 2 / pixel**2
        flat = np.bincount(row[chosen] * columns + column[chosen], weights=volume, minlength=rows * columns)
        width = float(np.median(radius[chosen]) * 0.6 / pixel)
        total += gaussian_filter(flat.reshape(rows, columns).astype(np.float32), max(width, 0.45), truncate=3.0)
    fine = gaussian_filter(rng.standard_normal(exposure.shape, dtype=np.float32), 0.12 / float(pixel), truncate=2.5)
    fine = np.float32(2.2) * fine + np.float32(0.6) * cloud(exposure.shape, 5, rng) + cloud(exposure.shape, 17, rng)
    return np.float32(2.1) * total, np.asarray(fine, np.float32)


def _slow(image: Plane, width_px: float) -> Plane:
    """The image blurred by a wide Gaussian, by way of a coarse copy."""
    step = 8
    rows, columns = image.shape
    padded = np.pad(image, ((0, -rows % step), (0, -columns % step)), mode="edge")
    coarse = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step).mean(axis=(1, 3))
    smooth = gaussian_filter(coarse, width_px / step, mode="nearest")
    return enlarged(smooth, step, (rows, columns))


def _developed(dense: Plane, exposure: Exposure, rng: np.random.Generator) -> Plane:
    """Scatter, quantum noise, blur, evening out, and the curve from exposure to grey."""
    primary = np.exp(-dense)
    around = _slow(np.minimum(primary, 0.15), 3.0 / exposure.pixel_cm)
    dense = -np.log(primary + np.float32(0.5 * exposure.scatter) * around + np.float32(1e-3))
    grains = rng.standard_normal(exposure.shape, dtype=np.float32)
    dense = dense + np.float32(exposure.noise) * np.exp(0.5 * dense) * grains
    dense = gaussian_filter(dense, exposure.blur_px, truncate=3.0)
    body_only = np.maximum(dense, 1.0)
    dense = dense - np.float32(exposure.evening) * (_slow(body_only, 4.0 / exposure.pixel_cm) - 3.2)
    around_grey = np.float32(0.95 * exposure.contrast) * (dense - np.float32(3.3 + exposure.level))
    grey = np.asarray(0.5 + 0.5 * np.tanh(around_grey), np.float32)
    return np.asarray(np.clip(grey, 0, 1) ** np.float32(exposure.gamma), np.float32)


def collimated(exposure: Exposure) -> Bool[np.ndarray, "y x"]:
    """True where the collimator's blades kept the rays away."""
    left, right, top, bottom = exposure.border
    rows, columns = exposure.shape
    if not any(exposure.border):
        return np.zeros(exposure.shape, bool)
    x, y = np.arange(columns) - (columns - 1) / 2, np.arange(rows)[:, None] - (rows - 1) / 2
    c, s = np.cos(exposure.border_turn), np.sin(exposure.border_turn)
    u, v = c * x + s * y + columns / 2, c * y - s * x + rows / 2
    return np.asarray((u < left) | (u > columns - right) | (v < top) | (v > rows - bottom))


def empty_picture(shape: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "y x"]:
    """A plate exposed without a patient: one grey, slow shading and noise."""
    shade = 0.02 * np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    grains = 0.012 * rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(np.clip(rng.uniform(0.25, 0.6) + shade + grains, 0, 1), np.float32)
