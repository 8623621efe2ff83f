"""What is wrong in a simulated thorax seen from the front: findings in four severities, and the rare kinds."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from catalogs.samples.radiograph_anatomy import Anatomy, Lungs, Plane, View, soft_edge

Rare = Literal["dextrocardia", "metal", "white_out"]
RARE: tuple[Rare, ...] = get_args(Rare)
# Height in cm of the fluid at the ribs, contrast and radius in cm of a patch, and cardiothoracic ratio, by severity.
_FLUID = ((0.0, 0.0), (1.8, 3.2), (3.8, 6.0), (6.5, 10.0))
_PATCH = ((0.0, 0.0, 1.0), (0.24, 0.38, 2.4), (0.38, 0.58, 3.2), (0.55, 0.80, 4.0))
_RATIO = ((0.0, 0.0), (0.515, 0.55), (0.56, 0.61), (0.62, 0.69))


@dataclass(frozen=True)
class Findings:
    """Severities, 0 (absent) to 3."""

    effusion: int = 0
    opacity: int = 0
    cardiomegaly: int = 0

    def __post_init__(self) -> None:
        for name, severity in vars(self).items():
            if not 0 <= severity <= 3:
                raise ValueError(f"{name} = {severity}: severities are 0 to 3")


def heart_ratio(anatomy: Anatomy, severity: int, view: View, rng: np.random.Generator) -> float:
    """The cardiothoracic ratio as seen: above 0.5 in PA is cardiomegaly; AP magnifies by about an eighth."""
    share, magnified = float(rng.random()), float(rng.uniform(1.07, 1.16))
    low, high = _RATIO[severity]
    ratio = low + share * (high - low) if severity else anatomy.heart_ratio
    return min(ratio * (magnified if view == "AP" else 1.0), 0.76)


def cloud(shape: tuple[int, int], grain: int, rng: np.random.Generator) -> Plane:
    """Smooth noise of standard deviation about 1 whose grains are `grain` pixels wide."""
    rough = rng.standard_normal((shape[0] // grain + 3, shape[1] // grain + 3), dtype=np.float32)
    return np.asarray(1.5 * enlarged(rough, grain, shape), np.float32)


def enlarged(
    coarse: Float32[np.ndarray, "coarse_y coarse_x"], step: int, shape: tuple[int, int]
) -> Float32[np.ndarray, "y x"]:
    """Linear interpolation of a coarse plane whose pixels are `step` fine ones wide; it must cover `shape`."""
    # Not a matrix product: BLAS starts threads, and several processes with threads each wait for one another.
    return np.ascontiguousarray(_between(_between(coarse, step, shape[0]).T, step, shape[1]).T)


def _between(coarse: Float32[np.ndarray, "coarse_y x"], step: int, length: int) -> Float32[np.ndarray, "y x"]:
    """Rows of `coarse` interpolated at `length` fine places."""
    count = len(coarse)
    at = np.clip((np.arange(length) + 0.5) / step - 0.5, 0, count - 1)
    first = np.minimum(at.astype(np.int64), max(count - 2, 0))
    share = (at - first).astype(np.float32)[:, None]
    return np.asarray(coarse[first] * (1 - share) + coarse[np.minimum(first + 1, count - 1)] * share, np.float32)


def effusion(anatomy: Anatomy, found: Lungs, severity: int, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """The fraction of lung, 0..1, that free fluid replaces: a meniscus, highest at the ribs.

    Severity 1 blunts the costophrenic angle, 3 hides the lower half of the lung.
    """
    share, dip = float(rng.random()), float(rng.uniform(0.45, 0.75))
    low, high = _FLUID[severity]
    height = (low + share * (high - low)) * anatomy.scale
    if severity == 0:
        return np.zeros_like(x)
    level = np.float32(found.angle - height) + np.float32(dip * height) * (1 - np.clip(found.across, 0, 1)) ** 1.3
    below = y - level
    covered = soft_edge(below, 0.30 + 0.03 * height) * np.clip(0.72 + below / 6.0, 0.72, 1)
    return np.asarray(covered * (x * anatomy.effusion_side > 0), np.float32)


def opacity(anatomy: Anatomy, found: Lungs, severity: int, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """The fraction of air, 0..1, that a consolidation replaces: a patch of cloud with soft borders."""
    if severity == 0:
        return np.zeros_like(x)
    share, up, across, stretch = rng.random(), rng.normal(0, 0.05), rng.uniform(0.3, 0.75), rng.uniform(0.75, 1.4)
    grains = 0.6 * cloud((x.shape[0], x.shape[1]), 14, rng) + 0.4 * cloud((x.shape[0], x.shape[1]), 6, rng)
    low, high, radius = _PATCH[severity]
    height = float(np.clip(anatomy.opacity_height + up, 0.2, 0.9)) * (found.angle - anatomy.angle_drop)
    row = int(np.argmin(np.abs(y[:, y.shape[1] // 2] - height)))
    inner = 2.6 * anatomy.scale
    middle = anatomy.opacity_side * (inner + across * (float(found.outer[row].max()) - inner))
    far = np.hypot((x - np.float32(middle)) / np.float32(stretch), y - np.float32(height)) / np.float32(radius)
    patch = soft_edge(1.1 - far + 0.35 * grains, 0.24)
    patch = patch * np.clip(0.85 + 0.25 * grains, 0.4, 1.2)
    amount = low + float(share) * (high - low)
    return np.asarray(np.clip(amount * patch, 0, 0.9), np.float32)
