"""How a simulated radiograph is taken, and what a frontal one then shows before it is developed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from catalogs.samples.radiograph_anatomy import (
    Anatomy,
    Plane,
    Posture,
    View,
    airways,
    attenuation,
    body,
    children,
    lungs,
    mediastinum,
)
from catalogs.samples.radiograph_bones import bones
from catalogs.samples.radiograph_devices import DEVICES, Device, device, metal
from catalogs.samples.radiograph_findings import (
    Findings,
    Rare,
    cloud,
    effusion,
    heart_ratio,
    opacity,
)
from catalogs.samples.radiograph_scanners import Scanner


@dataclass(frozen=True)
class Exposure:
    """How one radiograph was taken. All sites draw from the same distributions, the scanner apart."""

    shape: tuple[int, int]  # rows, columns
    pixel_cm: float
    rotation: float  # radians
    centre: tuple[float, float]  # x, y of the image's centre in cm
    scatter: float
    noise: float
    dose: float  # stops above (+) or below (-) what the device is set for: doublings
    blur_px: float
    evening: float  # the part of the slow variation that processing takes out
    level: float  # attenuation shown as medium grey
    contrast: float
    gamma: float
    border: tuple[int, int, int, int]  # columns and rows that are collimated: left, right, top, bottom
    border_turn: float  # radians by which the blades stand askew
    scanner: Scanner
    devices: tuple[Device, ...]


def draw_exposure(anatomy: Anatomy, view: View, size: int, scanner: Scanner, seed: np.random.SeedSequence) -> Exposure:
    """`size` is the longer side in pixels; bedside radiographs (AP) have less contrast and lie less straight.

    Geometry, borders, dose and devices have a stream each; the scanner changes no number but the spacing.
    """
    rng, border_rng, dose_rng, device_rng = map(np.random.default_rng, children(seed, 4))
    bedside = view == "AP"
    short = round(size * float(np.clip(rng.normal(0.87, 0.05), 0.78, 0.96)))
    landscape = rng.random() < 0.2 and view != "LL"
    shape = (short, size) if landscape else (size, short)
    pixel_cm = scanner.field * anatomy.scale * rng.uniform(37.0, 42.5) / size
    middle = 0.5 * (anatomy.lung_height + anatomy.angle_drop) + 0.2
    border = border_rng.integers(2, max(size // 18, 4), 4) * (border_rng.random(4) < 0.75) * (border_rng.random() < 0.3)
    left, right, top, bottom = (int(width) for width in border)
    return Exposure(
        shape=shape,
        pixel_cm=pixel_cm,
        rotation=float(np.deg2rad(np.clip(rng.normal(0, 1.8 if bedside else 1.0), -3, 3))),
        centre=(float(rng.normal(0, 0.9)), middle + float(rng.normal(0, 1.0))),
        scatter=rng.uniform(0.35, 0.8) if bedside else rng.uniform(0.10, 0.35),
        noise=rng.uniform(0.003, 0.008) if bedside else rng.uniform(0.002, 0.005),
        dose=_dose(dose_rng),
        blur_px=rng.uniform(0.5, 0.9) if bedside else rng.uniform(0.35, 0.7),
        evening=rng.uniform(0.15, 0.4),
        level=rng.uniform(-0.35, 0.35),
        contrast=float(np.exp(rng.normal(0.0, 0.12))) * (0.85 if bedside else 1.0),
        gamma=float(np.exp(rng.normal(0.0, 0.16))),
        border=(left, right, top, bottom),
        border_turn=float(border_rng.choice([0.0, 1.0]) * np.deg2rad(border_rng.uniform(-2.5, 2.5))),
        scanner=scanner,
        devices=_devices(anatomy, view, device_rng),
    )


def _dose(rng: np.random.Generator) -> float:
    """In stops, two decimals: mostly within half a stop; one in fifteen is off by 1.2 to 2.5."""
    usual, far, sign = rng.normal(0, 0.35), rng.uniform(1.2, 2.5), rng.choice([-1, 1])
    return round(float(sign * far if rng.random() < 1 / 15 else np.clip(usual, -1, 1)), 2) + 0.0  # no -0.0


def _devices(anatomy: Anatomy, view: View, rng: np.random.Generator) -> tuple[Device, ...]:
    """Pacemakers belong to the patient; cables, tubes and lines to the bedside, half of the tubes with a line."""
    cables, tube, line = rng.random(3)
    bedside = view == "AP"
    present = {
        "pacemaker": anatomy.pacemaker,
        "cables": bedside and cables < 0.5,
        "tube": bedside and tube < 0.15,
        "line": bedside and line < (0.5 if tube < 0.15 else 0.15),
    }
    return tuple(kind for kind in DEVICES if present[kind])


def frontal(
    anatomy: Anatomy,
    findings: Findings,
    view: View,
    rare: Rare | None,
    exposure: Exposure,
    seed: np.random.SeedSequence,
) -> Plane:
    """The attenuation seen from the front or the back. Findings and devices have a stream each: the rest stays."""
    posture_rng, effusion_rng, opacity_rng, texture_rng, metal_rng, *device_rngs = map(
        np.random.default_rng, children(seed, 5 + len(DEVICES))
    )
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
    marks, fine = markings(anatomy.vessels, exposure, texture_rng)
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
    for kind in exposure.devices:
        dense = dense + device(kind, anatomy, x, y, device_rngs[DEVICES.index(kind)])
    if rare == "metal":
        dense = dense + metal(anatomy, x, y, metal_rng)
    return dense


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


def markings(
    vessels: Float32[np.ndarray, "point 3"], exposure: Exposure, rng: np.random.Generator
) -> tuple[Plane, Plane]:
    """Vessels as thickness in cm, and the fine noise of the lungs' tissue."""
    rows, columns = exposure.shape
    pixel = np.float32(exposure.pixel_cm)
    x, y, radius = vessels.T
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
