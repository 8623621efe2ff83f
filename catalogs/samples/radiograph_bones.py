"""Bones of the simulated thorax as thickness in cm, in the coordinates of `radiograph_anatomy`."""

import numpy as np

from catalogs.samples.radiograph_anatomy import Anatomy, Plane, Posture, rib_cage, rows_between, soft_edge

_RIBS = 11


def bones(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Thickness in cm of spine, ribs, clavicles, shoulder blades and upper arms."""
    return np.asarray(
        _spine(anatomy, posture, x, y)
        + _ribs(anatomy, posture, x, y)
        + _clavicles(anatomy, posture, x, y)
        + _shoulder_blades(anatomy, posture, x, y),
        np.float32,
    )


def _rod(distance: Plane, radius: float, cortex: float) -> Plane:
    """Thickness of a round bone at `distance` from its axis: a dense shell of `cortex` cm around a spongy inside."""
    squared = distance * distance
    whole = np.sqrt(np.maximum(np.float32(radius**2) - squared, 0))
    inside = np.sqrt(np.maximum(np.float32((radius - cortex) ** 2) - squared, 0))
    return np.asarray(2 * whole - np.float32(1.3) * inside, np.float32)


def _spine(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Vertebral bodies with fainter discs between them, two pedicles and a spinous process each."""
    s = anatomy.scale
    u = x - np.float32(anatomy.bend) * np.sin(y / np.float32(9.0 * s)) + np.float32(0.5 * posture.turn)
    total, columns = np.zeros_like(x), rows_between(x.T, -4.5, 4.5)
    u, y = u[:, columns], y[:, columns]
    half = np.float32(1.65 * s) + np.float32(0.016) * np.maximum(y, 0)
    phase = np.mod(y / np.float32(anatomy.rib_pitch), 1) - 0.5
    disc = soft_edge(np.abs(phase) - np.float32(0.40), 0.03)
    squared = (u / (half * (1 - 0.10 * np.cos(2 * np.pi * phase)))) ** 2
    column = np.sqrt(np.maximum(1 - squared * squared, 0))
    pedicles = np.exp(-(((np.abs(u) - 0.62 * half) / 0.33) ** 2) - ((phase + 0.12) / 0.13) ** 2)
    spinous = np.exp(-((u / 0.28) ** 2) - ((phase - 0.2) / 0.2) ** 2)
    total[:, columns] = column * (1.15 - 0.45 * disc) + 0.5 * pedicles + 0.55 * spinous
    return total


def _ribs(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Each pair is a hoop that hangs down in front, an ellipse in projection: its upper arc is the posterior rib.

    The rays run along the hoop at its sides, so a rib is brightest there; in front it goes over into cartilage.
    """
    total = np.zeros_like(x)
    s = anatomy.scale
    for number in range(_RIBS):
        back = (0.2 * s + anatomy.rib_pitch * number) * (0.35 + 0.65 * posture.breath) - 0.9 * s
        half = 0.5 * anatomy.rib_sag * (0.62 + 0.38 * min(1.0, number / 5))
        middle = back + half
        share = np.full((1, 1), np.clip(middle / (anatomy.lung_height + anatomy.angle_drop), 0.04, 1), np.float32)
        radius = anatomy.half_width * float(rib_cage(share)[0, 0]) + 0.35
        rows = rows_between(y, back - 3.2, middle + half + 1.0)
        u, v = x[rows] / np.float32(radius), y[rows] - np.float32(0.16) * np.abs(x[rows]) + np.float32(0.16 * radius)
        v = (v - np.float32(middle)) / np.float32(half)
        r = np.sqrt(u * u + v * v) + np.float32(1e-3)
        steep = np.sqrt((u / np.float32(radius)) ** 2 + (v / np.float32(half)) ** 2) / r
        distance = (r - 1) / np.maximum(steep, 0.02)
        front = soft_edge(v, 0.10)
        cut = np.float32(1.7 * s / radius) + np.float32(0.42 + 0.03 * number - 1.7 * s / radius) * front
        ends = soft_edge(np.abs(u) - cut, 0.03)
        squared = u * u
        along = 1 + np.float32(0.5) * (squared * squared) ** 2 * squared
        bone = _rod(distance, anatomy.rib_radius, 0.16) * (1 - np.float32(0.45) * front) * ends * along
        total[rows] += np.minimum(bone, 1.9)
    # Below the lungs scatter hides most of a rib.
    return np.asarray(total * (1.1 - 0.66 * soft_edge(y - np.float32(anatomy.lung_height), 1.0)), np.float32)


def _clavicles(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Two S-shaped rods from the sternum to the shoulders; higher over the apexes when seen from the front."""
    s, aside = anatomy.scale, np.abs(x - np.float32(0.8 * posture.turn))
    along = np.clip((aside - np.float32(1.8 * s)) / np.float32(13.5 * s), 0, 1)
    lifted = 1.6 if posture.view == "AP" else 0.0
    line = np.float32((3.4 - lifted) * s) - np.float32(anatomy.clavicle_rise + 2.0) * along
    line = line - np.float32(0.75 * s) * np.sin(np.float32(2 * np.pi) * along)
    slope = (anatomy.clavicle_rise + 2.0) / (13.5 * s)
    distance = (y - line) / np.float32(np.hypot(1.0, slope))
    inside = soft_edge(aside - np.float32(1.8 * s), 0.12) * soft_edge(np.float32(15.3 * s) - aside, 0.3)
    return np.asarray(1.45 * inside * _rod(distance, 0.62 * s, 0.2), np.float32)


def _shoulder_blades(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Thin triangles with a dense rim and the upper arms' heads; over the lungs when seen from the front."""
    s, aside = anatomy.scale, np.abs(x)
    medial = 9.6 if posture.view == "AP" else 13.4
    corners = [(medial, 0.6), (medial + 6.3, 2.4), (medial + 1.4, 13.2)]
    depth = np.full_like(x, np.inf)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = float(np.hypot(bx - ax, by - ay))
        inward = ((bx - ax) * (y / np.float32(s) - ay) - (by - ay) * (aside / np.float32(s) - ax)) / length
        depth = np.minimum(depth, inward)
    blade = soft_edge(depth, 0.06) * (0.35 + 0.75 * np.exp(-((depth / 0.4) ** 2)))
    ridge = np.exp(-(((y / s - 2.2 - 0.10 * (aside / s - medial)) / 0.45) ** 2))
    ridge = ridge * soft_edge(aside / s - medial, 0.2) * soft_edge(medial + 7.0 - aside / s, 0.2)
    across = np.hypot(aside / s - medial - 7.4, y / s - 3.4)
    head = np.sqrt(np.maximum(1 - (across / 2.3) ** 2, 0))
    from_shaft = (aside / s - medial - 7.9 - 0.12 * (y / s - 3.0)).astype(np.float32)
    shaft = _rod(from_shaft, 1.15, 0.4) * soft_edge(y / np.float32(s) - np.float32(4.5), 0.3)
    return np.asarray(blade + 0.7 * ridge + 1.6 * head + shaft, np.float32)
