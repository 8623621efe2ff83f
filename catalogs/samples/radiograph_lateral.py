"""A simulated thorax seen from its right side, left side to the detector (LL): front on the left of the image.

Lengths in cm; x runs from front to back with 0 in the middle of the body, y down as in `radiograph_anatomy`.
"""

import numpy as np

from catalogs.samples.radiograph_anatomy import Anatomy, Plane, attenuation, children, ellipsoid, soft_edge
from catalogs.samples.radiograph_devices import curve, thread
from catalogs.samples.radiograph_exposures import Exposure, coordinates, markings
from catalogs.samples.radiograph_findings import Findings, cloud, heart_ratio

_HARDER = 0.72  # the way is longer, the tube's voltage higher: tissue weakens the rays less
_FLUID = (0.0, 1.8, 3.8, 7.0)  # height in cm by severity, from the angle upwards
_PATCH = (0.0, 0.30, 0.48, 0.66)


def lateral(anatomy: Anatomy, findings: Findings, exposure: Exposure, seed: np.random.SeedSequence) -> Plane:
    """The attenuation of both halves of the thorax, one behind the other; a finding has one of them."""
    posture_rng, effusion_rng, opacity_rng, texture_rng = map(np.random.default_rng, children(seed, 4))
    x, y = coordinates(exposure)
    deep, height = anatomy.depth, anatomy.lung_height * float(posture_rng.uniform(0.93, 1.03))
    ratio = heart_ratio(anatomy, findings.cardiomegaly, "PA", posture_rng)
    front, back = _outline(anatomy, x, y)
    whole = _body(anatomy, front, back, x, y) * (1 + 0.012 * cloud(exposure.shape, 24, texture_rng))
    marks, fine = markings(_from_the_side(anatomy), exposure, texture_rng)
    air = np.zeros_like(x)
    for side in (-1, 1):
        dome = _dome(anatomy, height + (anatomy.dome_step if side > 0 else 0.0), x)
        half = _lung(anatomy, front, back, dome, x, y)
        if side == anatomy.effusion_side and findings.effusion:
            fluid = _FLUID[findings.effusion] + float(effusion_rng.uniform(0, 1.2))
            level = np.float32(height + 1.5 * anatomy.angle_drop - fluid) - 0.012 * np.abs(x) ** 1.6
            half = half * (1 - 0.92 * soft_edge(y - level, 0.4))
        if side == anatomy.opacity_side and findings.opacity:
            middle = (float(opacity_rng.uniform(-0.25, 0.2)) * deep, anatomy.opacity_height * height)
            grains = cloud((x.shape[0], x.shape[1]), 14, opacity_rng)
            far = np.hypot(x - np.float32(middle[0]), y - np.float32(middle[1])) / np.float32(2.2 + findings.opacity)
            half = half * (1 - np.float32(_PATCH[findings.opacity]) * soft_edge(1.1 - far + 0.3 * grains, 0.22))
        air = air + half
    aerated = air / np.float32(1.3 * anatomy.half_width)
    air = air * (1 + np.float32(0.03 * anatomy.texture) * fine)
    dense = attenuation(
        whole,
        air,
        _middle(anatomy, ratio, height, x, y),
        _airway(anatomy, x, y),
        marks * aerated,
        _bones(anatomy, x, y),
    )
    dense = np.float32(_HARDER) * dense
    return dense + _pacemaker(anatomy, x, y) if "pacemaker" in exposure.devices else dense


def _outline(anatomy: Anatomy, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """x of the skin in front (sloping forward down to the breast bone's end) and behind (the bent back)."""
    s, half = anatomy.scale, 0.5 * anatomy.depth + 0.4 * anatomy.fat
    slope = soft_edge(y - np.float32(3.0 * s), 2.4 * s)
    front = -half * (0.42 + 0.58 * slope)
    back = half * (0.72 + 0.28 * soft_edge(y - np.float32(1.0 * s), 2.5 * s)) + 0.5 * np.sin(y / np.float32(8 * s))
    return np.asarray(front, np.float32), np.asarray(back, np.float32)


def _body(anatomy: Anatomy, front: Plane, back: Plane, x: Plane, y: Plane) -> Plane:
    """Thickness across: trunk, neck, the arms held up over the head, breasts."""
    s, wide = anatomy.scale, 2 * (anatomy.half_width + anatomy.fat)
    place = (x - 0.5 * (front + back)) / (0.5 * (back - front))
    trunk = wide * np.sqrt(np.clip(1 - np.abs(place) ** 3.0, 0, 1))
    below = np.clip((y + np.float32(5.0 * s)) / np.float32(9.0 * s), 0, 1)
    trunk = trunk * (0.30 + 0.70 * np.sqrt(1 - (1 - below) ** 2)) * soft_edge(y + np.float32(7.0 * s), 1.0)
    neck = 11 * s * np.sqrt(np.clip(1 - ((x + 0.8 + 0.12 * y) / np.float32(5.6 * s)) ** 2, 0, 1))
    neck = neck * soft_edge(np.float32(1.0) - y, 1.2)
    arms = 17 * s * np.sqrt(np.clip(1 - ((x - 1.0 * s + 0.62 * (y + 3 * s)) / np.float32(4.6 * s)) ** 2, 0, 1))
    arms = arms * soft_edge(np.float32(1.5 * s) - y, 1.6)
    whole = np.maximum(np.maximum(trunk, neck), arms)
    if anatomy.breast:
        centre = (-0.43 * anatomy.depth, 0.70 * anatomy.lung_height)
        sag = soft_edge(y - np.float32(centre[1] - 2.0), 1.6)
        radii = (1.0 * anatomy.breast + 2.4 * s, 5.4 * s)
        whole = whole + 4.5 * s * sag * ellipsoid(x, y, centre, radii, 0.15) ** 0.8
    return np.asarray(whole, np.float32)


def _dome(anatomy: Anatomy, height: float, x: Plane) -> Plane:
    """y of one half of the diaphragm: highest in front of the middle, deep behind."""
    place = (x + np.float32(0.12 * anatomy.depth)) / np.float32(0.5 * anatomy.depth)
    behind, before = np.maximum(place, 0), np.maximum(-place, 0)
    drop = np.float32(1.5 * anatomy.angle_drop) * np.clip(behind / 1.05, 0, 1.1) ** 2.2
    return np.asarray(np.float32(height - 0.6) + drop + np.float32(2.4) * before**2, np.float32)


def _lung(anatomy: Anatomy, front: Plane, back: Plane, dome: Plane, x: Plane, y: Plane) -> Plane:
    """Air-filled thickness of one lung, from behind the breast bone to beside the spine."""
    s = anatomy.scale
    down = np.clip((y - np.float32(0.2)) / np.float32(0.75 * anatomy.lung_height), 0, 1)
    first = front + np.float32(2.2 * s + 0.4 * anatomy.fat) + np.float32(3.2 * s) * np.exp(-down / 0.12)
    last = back - np.float32(2.4 * s + 0.4 * anatomy.fat)
    place = (2 * x - first - last) / np.maximum(last - first, 0.5)
    profile = np.clip(1 - np.abs(place) ** 4, 0, 1) ** 0.6
    spread = np.float32(0.78 * anatomy.half_width) * np.sqrt(1 - (1 - down) ** 2.4)
    return np.asarray(spread * profile * soft_edge(dome - y, 0.10), np.float32)


def _middle(anatomy: Anatomy, ratio: float, height: float, x: Plane, y: Plane) -> Plane:
    """Thickness of heart, great vessels and hila, which lie where no lung is."""
    s, deep, large = anatomy.scale, anatomy.depth, ratio / 0.45
    place, radii = (-0.17 * deep, height - 3.2 * s), (6.6 * s * large, 4.6 * s * large)
    heart = 12.0 * s * large * ellipsoid(x, y, place, radii, 1.0) ** 0.7
    arch = curve([(-0.10 * deep, 11 * s), (-0.12 * deep, 2.5 * s), (0.26 * deep, 2.5 * s), (0.23 * deep, 13 * s)], 16)
    aorta = 2.6 * thread(arch, x, y, 0.8 + 0.5 * anatomy.aortic_knob)
    hila = 5.0 * s * ellipsoid(x, y, (0.03 * deep, 10.8 * s), (2.0 * s, 2.4 * s)) ** 1.5
    upper = (
        4.5 * s * soft_edge(np.float32(8.0 * s) - y, 2.0) * np.exp(-(((x + 0.06 * deep) / np.float32(3.2 * s)) ** 2))
    )
    return np.asarray(np.maximum(np.maximum(heart, aorta), np.maximum(hila, upper)), np.float32)


def _airway(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Air in the trachea, which runs down and back to the hila, and in the stomach."""
    s, deep = anatomy.scale, anatomy.depth
    path = np.float32(0.01 * deep) + np.float32(0.16) * (y + np.float32(4 * s))
    tube = np.sqrt(np.clip(1 - ((x - path) / np.float32(0.85 * s)) ** 2, 0, 1)) * soft_edge(np.float32(10 * s) - y, 0.5)
    where = (-0.12 * deep, anatomy.lung_height + anatomy.dome_step + 1.8 + 0.6 * anatomy.bubble)
    gas = 4.0 * anatomy.bubble * ellipsoid(x, y, where, (1.3 * anatomy.bubble, 0.6 * anatomy.bubble), 0.1)
    return np.asarray(2.6 * s * tube + gas, np.float32)


def _bones(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Spine, breast bone, and ribs of both sides, which do not fall on each other; shoulder blades."""
    s, deep = anatomy.scale, anatomy.depth
    axis = np.float32(0.27 * deep) + np.float32(0.9 * s) * np.sin((y - 1.0) / np.float32(8 * s))
    u = x - axis
    phase = np.mod(y / np.float32(anatomy.rib_pitch), 1) - 0.5
    disc = soft_edge(np.abs(phase) - np.float32(0.39), 0.03)
    half = np.float32(1.45 * s) + np.float32(0.02) * np.maximum(y, 0)
    inside = soft_edge(half - np.abs(u), 0.10)
    rim = np.exp(-(((half - np.abs(u)) / 0.22) ** 2)) + np.exp(-(((0.39 - np.abs(phase)) / 0.05) ** 2))
    spine = inside * ((1 - 0.5 * disc) * 2.1 + 0.5 * rim * (1 - disc))
    arches = 0.9 * np.exp(-(((u - 2.6 * s) / 0.9) ** 2)) * (0.55 + 0.45 * np.cos(2 * np.pi * (phase - 0.15)))
    front, back = _outline(anatomy, x, y)
    plate = np.exp(-(((x - front - np.float32(1.3 * s + 0.5 * anatomy.fat)) / 0.42) ** 2))
    breast_bone = 1.5 * plate * soft_edge(y - np.float32(2.5 * s), 0.3) * soft_edge(np.float32(17.5 * s) - y, 0.5)
    ribs = np.zeros_like(x)
    within = soft_edge(back - np.float32(0.8) - x, 0.2) * soft_edge(x - front - np.float32(2.5 * s), 0.5)
    for shift in (0.0, 0.9):
        slope = np.float32(0.42) * (axis - x) - np.float32(0.018) * (axis - x) ** 2
        off = np.mod((y - slope - np.float32(shift)) / np.float32(anatomy.rib_pitch), 1) - 0.5
        ribs += np.exp(-((off * np.float32(anatomy.rib_pitch) / 0.42) ** 2))
    ribs = 0.62 * ribs * within * soft_edge(y - 0.5, 1.0) * soft_edge(np.float32(anatomy.lung_height + 2) - y, 2.0)
    blade = curve([(0.30 * deep, -1.0), (0.34 * deep, 5.0 * s), (0.42 * deep, 11.0 * s)])
    blades = 0.8 * thread(blade, x, y, 0.22) + 0.7 * thread(blade + np.float32(1.1), x, y, 0.20)
    arm = np.abs(x - 1.0 * s + 0.62 * (y + 3 * s)) * 0.85
    upper_arms = 1.4 * soft_edge(np.float32(1.3 * s) - arm, 0.1) * soft_edge(-1.5 * s - y, 0.8)
    return np.asarray(spine + arches + breast_bone + ribs + blades + upper_arms, np.float32)


def _from_the_side(anatomy: Anatomy) -> Plane:
    """The lungs' vessels as the side view may show them: those of one lung drawn to the front, of the other back."""
    x, y, radius = anatomy.vessels.T
    out = np.abs(x) - np.float32(4.0 * anatomy.scale)
    along = np.float32(0.03 * anatomy.depth) + np.where(x > 0, -1, 1) * 0.75 * out
    return np.stack([along, y, radius], axis=1).astype(np.float32)


def _pacemaker(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """A pulse generator on edge in front of the chest, and its lead."""
    s, deep = anatomy.scale, anatomy.depth
    case = ((np.abs(x + 0.40 * deep) / 0.6) ** 3 + (np.abs(y - 5.6 * s) / 1.9) ** 3).astype(np.float32)
    lead = curve([(-0.38 * deep, 4.0 * s), (-0.1 * deep, 0.0), (0.1 * deep, 12.0 * s), (-0.25 * deep, 18.5 * s)])
    return np.asarray(1.9 * soft_edge(1 - case, 0.06) + 0.9 * thread(lead, x, y, 0.13), np.float32)
