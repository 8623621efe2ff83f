"""From the rays that leave a simulated thorax to the picture that a device's processing would show."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import gaussian_filter

from catalogs.samples.radiograph_anatomy import Anatomy, Plane
from catalogs.samples.radiograph_exposures import Exposure
from catalogs.samples.radiograph_findings import enlarged

_SHIFT_PER_STOP = 0.17  # a quarter of ln 2, in units of attenuation


def _slow(image: Plane, width_px: float) -> Plane:
    """The image blurred by a wide Gaussian, by way of a coarse copy."""
    step = 8
    rows, columns = image.shape
    padded = np.pad(image, ((0, -rows % step), (0, -columns % step)), mode="edge")
    coarse = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step).mean(axis=(1, 3))
    smooth = gaussian_filter(coarse, width_px / step, mode="nearest")
    return enlarged(smooth, step, (rows, columns))


def developed(dense: Plane, exposure: Exposure, rng: np.random.Generator) -> Plane:
    """Scatter, quantum noise, blur, evening out, and the curve from exposure to grey."""
    device = exposure.scanner
    primary = np.exp(-dense)
    around = _slow(np.minimum(primary, 0.15), 3.0 / exposure.pixel_cm)
    dense = -np.log(primary + np.float32(0.5 * exposure.scatter) * around + np.float32(1e-3))
    grains = rng.standard_normal(exposure.shape, dtype=np.float32)
    noise = exposure.noise * device.noise * 2 ** (-0.5 * exposure.dose)
    dense = dense + np.float32(noise) * np.exp(0.5 * dense) * grains
    dense = gaussian_filter(dense, exposure.blur_px, truncate=3.0)
    body_only = np.maximum(dense, 1.0)
    evening = exposure.evening + device.evening
    dense = dense - np.float32(evening) * (_slow(body_only, 4.0 / exposure.pixel_cm) - 3.2)
    if device.edges:
        dense = dense + np.float32(device.edges) * (
            dense - gaussian_filter(dense, 0.5 / exposure.pixel_cm, truncate=2.5)
        )
    # Readers set the brightness for each picture; what a wrong dose leaves is a part of its shift.
    level = 3.3 + exposure.level + _SHIFT_PER_STOP * exposure.dose
    around_grey = np.float32(0.95 * exposure.contrast * device.contrast) * (dense - np.float32(level))
    grey = np.asarray(0.5 + 0.5 * np.tanh(around_grey), np.float32)
    return np.asarray(np.clip(grey, 0, 1) ** np.float32(exposure.gamma * device.gamma), np.float32)


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


def tight_field(anatomy: Anatomy, exposure: Exposure, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a frontal view's field that is cut too tight: an apex, an angle or a flank lies outside."""
    rows, columns = exposure.shape
    lost = rng.permutation(["apex", "angle", "right", "left"])[: int(rng.integers(1, 3))].tolist()
    inside = rng.uniform(1.0, 3.0, 4) * anatomy.scale  # cm
    x = (np.array([-1, 1]) * (anatomy.half_width - inside[:2]) - exposure.centre[0]) / exposure.pixel_cm
    y = np.array([inside[2], anatomy.lung_height + anatomy.angle_drop - inside[3]])
    y = (y - exposure.centre[1]) / exposure.pixel_cm
    first, last = (np.rint(x + columns / 2)).astype(int).tolist()
    top, bottom = (np.rint(y + rows / 2)).astype(int).tolist()
    down = slice(top if "apex" in lost else 0, min(bottom, rows) if "angle" in lost else rows)
    return down, slice(max(first, 0) if "right" in lost else 0, min(last, columns) if "left" in lost else columns)
