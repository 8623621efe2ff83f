"""What lies in and on a simulated patient: devices, and the foreign body that is one of the rare kinds."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from catalogs.samples.radiograph_anatomy import Anatomy, Plane, soft_edge

Device = Literal["pacemaker", "cables", "tube", "line"]
DEVICES: tuple[Device, ...] = get_args(Device)


def device(kind: Device, anatomy: Anatomy, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """What one device adds to the attenuation of a frontal view."""
    if kind == "pacemaker":
        return _pacemaker(anatomy, x, y)
    drawn = {"cables": _cables, "tube": _tube, "line": _line}[kind]
    return drawn(anatomy, x, y, rng)


def thread(points: Float32[np.ndarray, "point 2"], x: Plane, y: Plane, radius: float) -> Plane:
    """1 along a polyline, 0 outside `radius` cm, with soft edges."""
    nearest = np.full_like(x, np.inf)
    for (ax, ay), (bx, by) in zip(points[:-1].tolist(), points[1:].tolist(), strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
    return soft_edge(np.float32(radius) - np.sqrt(nearest), 0.04)


def curve(knots: Sequence[tuple[float, float]], count: int = 12) -> Float32[np.ndarray, "point 2"]:
    """A Bezier curve of any degree, as a polyline."""
    t = np.linspace(0, 1, count)[:, None]
    points = [np.repeat(np.array([knot]), count, axis=0) for knot in knots]
    while len(points) > 1:
        points = [(1 - t) * one + t * two for one, two in pairwise(points)]
    return points[0].astype(np.float32)


def _pacemaker(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Attenuation of a pulse generator under the left clavicle and its lead to the heart."""
    s = anatomy.scale
    case = ((np.abs(x - 9.5 * s) / 2.3) ** 3.5 + (np.abs(y - 5.6 * s) / 1.9) ** 3.5).astype(np.float32)
    lead = curve([(9.0 * s, 4.0 * s), (6.0 * s, 0.5), (-3.5 * s, 2.5 * s), (-3.0 * s, 16.0 * s), (4.5 * s, 18.0 * s)])
    return np.asarray(1.9 * soft_edge(1 - case, 0.06) + 0.9 * thread(lead, x, y, 0.13), np.float32)


def _cables(anatomy: Anatomy, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Attenuation of electrodes and their cables, as on most radiographs made at the bedside."""
    total = np.zeros_like(x)
    for side in (-1, 1)[: int(rng.integers(1, 3))]:
        start = (side * rng.uniform(6, 10), rng.uniform(4, 9))
        ends = [start, (side * rng.uniform(9, 14), rng.uniform(8, 14)), (rng.uniform(-14, 14), rng.uniform(12, 26))]
        ends.append((rng.uniform(-17, 17), 40.0))
        total += 0.30 * thread(curve(ends), x, y, 0.10)
        total += 0.55 * soft_edge(0.55 - np.hypot(x - np.float32(start[0]), y - np.float32(start[1])), 0.06)
    return total


def _tube(anatomy: Anatomy, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """A tracheal tube: faint walls and a bright stripe down one side, its tip 2 to 6 cm above the carina."""
    s = anatomy.scale
    tip = 8.0 * s - rng.uniform(2.0, 6.0)
    sway, stripe = rng.uniform(-0.5, 0.5), float(rng.choice([-1, 1]))
    middle = curve([(sway, -18.0), (0.6 * sway, -5.0), (-0.15, tip - 3.0), (-0.15, tip)])
    side = middle + np.array([0.38 * stripe, 0.0], np.float32)
    other = middle - np.array([0.38 * stripe, 0.0], np.float32)
    cuff = 0.12 * soft_edge(1 - ((x + 0.15) / 1.1) ** 2 - ((y - np.float32(tip) + 2.6) / 1.4) ** 2, 0.08)
    walls = 0.65 * thread(side, x, y, 0.09) + 0.22 * thread(other, x, y, 0.08)
    return np.asarray(walls - cuff * soft_edge(np.float32(tip) - y, 0.1), np.float32)


def _line(anatomy: Anatomy, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """A central venous line from the right neck or under the right clavicle; its tip lies in the superior vena cava."""
    s = anatomy.scale
    tip = (-1.9 * s + rng.normal(0, 0.25), rng.uniform(7.5, 12.0) * s)
    knots: list[tuple[float, float]] = [(-4.2 * s, -12.0), (-3.4 * s, -4.0), (-2.0 * s, 1.5), tip]
    if rng.random() < 0.4:
        knots = [(-15.0 * s, 7.0 * s), (-9.0 * s, 1.5 * s), (-1.0 * s, 1.0 * s), (-2.2 * s, 4.0 * s), tip]
    return np.asarray(0.50 * thread(curve(knots), x, y, 0.10), np.float32)


def metal(anatomy: Anatomy, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Attenuation of a foreign body: a coin, or a plate with the holes of its screws."""
    s = anatomy.scale
    coin = bool(rng.random() < 0.5)
    side = float(rng.choice([-1.0, 1.0]))  # in front of the spine it would be white on white
    cx, cy, angle = side * rng.uniform(4, 10) * s, rng.uniform(3, 16) * s, rng.uniform(0, np.pi)
    u = (np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)).astype(np.float32)
    v = (np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)).astype(np.float32)
    if coin:
        return np.asarray(4.0 * soft_edge(np.float32(rng.uniform(1.2, 1.9)) - np.hypot(u, v), 0.05), np.float32)
    length = float(rng.uniform(4.0, 6.5))
    plate = soft_edge(np.float32(0.85) - np.abs(v), 0.05) * soft_edge(np.float32(length) - np.abs(u), 0.05)
    holes = soft_edge(np.float32(0.42) - np.hypot(np.mod(u, 2.0) - 1.0, v), 0.05)
    return np.asarray(3.8 * plate * (1 - 0.8 * holes), np.float32)
