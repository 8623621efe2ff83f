"""A simulated thorax, mainly as seen from the front: who the patient is, and how much tissue the rays cross.

Lengths are in cm. x runs across from the midline, positive towards the patient's left, which is the right of the
image; y runs down from the level of the lungs' apexes. Shapes are curves that resemble radiographs; no atlas is used.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

Sex = Literal["F", "M"]
View = Literal["PA", "AP", "LL"]
Plane = Float32[np.ndarray, "y x"]
SOFT_PER_CM, BONE_PER_CM = 0.19, 0.30  # attenuation of water near 60 keV, and what bone adds to it
_LUNG_DENSITY = 0.27


@dataclass(frozen=True)
class Anatomy:
    """What stays the same in all studies of a patient. `vessels` are points (x, y, radius) of the lungs' vessels."""

    sex: Sex
    scale: float  # of the whole skeleton, 1 for a tall man
    half_width: float  # of the rib cage, inside
    lung_height: float  # from apex to the right dome, breathing in
    angle_drop: float  # from dome to costophrenic angle
    dome_step: float  # how much lower the left dome is
    fat: float  # between ribs and skin
    depth: float  # of the body, front to back
    heart_ratio: float  # cardiothoracic ratio without cardiomegaly, PA
    heart_tilt: float
    aortic_knob: float  # radius
    breast: float  # thickness, 0 for men
    rib_pitch: float
    rib_radius: float
    rib_sag: float  # how far a rib's front end lies below its back end
    clavicle_rise: float
    bend: float  # of the spine
    bubble: float  # radius of the air in the stomach
    texture: float  # strength of the lungs' fine markings
    pacemaker: bool
    effusion_side: int  # +1 is the patient's left
    opacity_side: int
    opacity_height: float  # 0 apex .. 1 base
    vessels: Float32[np.ndarray, "point 3"]


def draw_anatomy(sex: Sex, age: int, rng: np.random.Generator) -> Anatomy:
    """A patient: women smaller than men, the aortic knob wider with age."""
    scale = float(np.clip(rng.normal(0.92 if sex == "F" else 1.0, 0.035), 0.82, 1.1))
    uniform = rng.uniform
    return Anatomy(
        sex=sex,
        scale=scale,
        half_width=scale * uniform(12.9, 14.6),
        lung_height=scale * uniform(19.0, 22.5),
        angle_drop=scale * uniform(3.2, 5.2),
        dome_step=uniform(0.3, 1.8),
        fat=float(np.exp(rng.normal(0.75, 0.35))),
        depth=scale * uniform(19.0, 25.0),
        heart_ratio=uniform(0.40, 0.49),
        heart_tilt=uniform(0.45, 0.85),
        aortic_knob=1.2 + 0.009 * age + uniform(-0.15, 0.25),
        breast=uniform(1.0, 4.5) if sex == "F" else 0.0,
        rib_pitch=scale * uniform(2.15, 2.5),
        rib_radius=scale * uniform(0.58, 0.74),
        rib_sag=scale * uniform(8.5, 11.5),
        clavicle_rise=uniform(-0.5, 2.0),
        bend=uniform(-0.5, 0.5),
        bubble=uniform(0.8, 2.8),
        texture=uniform(0.6, 1.4),
        pacemaker=bool(rng.random() < 0.03),
        effusion_side=int(rng.choice([-1, 1])),
        opacity_side=int(rng.choice([-1, 1])),
        opacity_height=uniform(0.25, 0.85),
        vessels=_vessels(scale, rng),
    )


def children(seed: np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """Seeds of streams that do not touch one another; the same each time, where `spawn` would go on."""
    return [np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number)) for number in range(count)]


def _vessels(scale: float, rng: np.random.Generator) -> Float32[np.ndarray, "point 3"]:
    """Vessels that leave the hila in a fan, bend, thin out and branch."""
    points = []
    for side in (-1, 1):
        hilum = (side * 4.0 * scale, (10.0 - 0.45 * side) * scale)
        # Steep ones up and down are the widest: they are seen from the side.
        fan = np.linspace(-1.35, 1.45, 9) + rng.uniform(-0.12, 0.12, 9)
        open_ends = [
            (*_near(hilum, rng), angle, rng.uniform(0.15, 0.38), rng.uniform(6, 11) * scale) for angle in fan.tolist()
        ]
        while open_ends:
            x, y, angle, radius, length = open_ends.pop()
            steps = max(int(length / 0.13), 2)
            angles = angle + np.cumsum(rng.normal(0, 0.055, steps)) + rng.uniform(-0.2, 0.2) * np.linspace(0, 1, steps)
            xs, ys = x + side * 0.13 * np.cumsum(np.cos(angles)), y + 0.13 * np.cumsum(np.sin(angles))
            radii = radius * np.linspace(1.0, 0.35, steps)
            points.append(np.stack([xs, ys, radii], axis=1))
            if radius > 0.12:
                for at in rng.integers(steps // 5, steps, 3):
                    turn = float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.8))
                    twig = (float(xs[at]), float(ys[at]), float(angles[at]) + turn)
                    open_ends.append((*twig, 0.68 * float(radii[at]), 0.55 * length))
    return np.concatenate(points).astype(np.float32)


def _near(point: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.normal(0, (0.5, 1.0))
    return point[0] + float(x), point[1] + float(y)


@dataclass(frozen=True)
class Posture:
    """What differs between a patient's studies before the exposure: breath, turn, view, size of the heart."""

    view: View
    breath: float  # 1 is a full breath: heights of the lungs scale with it
    turn: float  # cm by which the front of the body is turned aside
    heart_ratio: float  # cardiothoracic ratio as seen, magnification included
    mirrored: bool  # dextrocardia with situs inversus
    shift: float = 0.0  # of heart and trachea, pushed by what fills a hemithorax


def soft_edge(distance: Plane, width: float) -> Plane:
    """0 far below, 1 far above, 0.5 at `distance` 0: a logistic step."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / np.float32(2 * width)), np.float32)


def rows_between(y: Plane, low: float, high: float) -> slice:
    """The rows in which some y lies in low..high; along a row y is a straight line."""
    ends = y[:, [0, -1]]
    inside = np.flatnonzero((ends.max(axis=1) >= low) & (ends.min(axis=1) <= high))
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def ellipsoid(x: Plane, y: Plane, centre: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0) -> Plane:
    """Thickness, 0..1, of an ellipsoid in projection; its axes are turned by `tilt` radians from x towards y."""
    total, reach = np.zeros_like(x), max(radii)
    box = rows_between(y, centre[1] - reach, centre[1] + reach)
    u, v = x[box] - np.float32(centre[0]), y[box] - np.float32(centre[1])
    c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    r2 = ((c * u + s * v) / np.float32(radii[0])) ** 2 + ((c * v - s * u) / np.float32(radii[1])) ** 2
    total[box] = np.sqrt(np.maximum(1 - r2, 0))
    return total


def rib_cage(down: Plane) -> Plane:
    """The rib cage's half width, as a share of the largest, by the share of the way from apex to base."""
    return np.asarray(np.sqrt(1 - (1 - down) ** 4.6) * (0.87 + 0.13 * down), np.float32)


@dataclass(frozen=True)
class Lungs:
    """Where the lungs are: `thickness` in cm, and the curves that findings follow."""

    thickness: Plane
    across: Plane  # 0 at the mediastinum .. 1 at the ribs
    dome: Plane  # y of the diaphragm
    angle: float  # y of the costophrenic angles
    outer: Plane  # |x| of the ribs' inner side


def lungs(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Lungs:
    """Both lungs as air-filled thickness between ribs, mediastinum and diaphragm, heart not yet taken out."""
    height, drop = anatomy.lung_height * posture.breath, anatomy.angle_drop
    down = np.clip(y / np.float32(height + drop), 0, 1)
    aside = np.abs(x)
    outer = np.float32(anatomy.half_width) * rib_cage(down)
    inner = np.float32(2.6 * anatomy.scale) + np.float32(2.2) * np.exp(-down / 0.05)
    across = (aside - inner) / np.maximum(outer - inner, 0.3)
    profile = np.sqrt(np.clip(1 - np.abs(2 * across - 1) ** 3, 0, 1)) * (outer > inner)
    stomach = np.where(x > 0, np.float32(-1 if posture.mirrored else 1), np.float32(1 if posture.mirrored else -1))
    top = np.float32(height) + np.float32(anatomy.dome_step) * np.maximum(stomach, 0)
    from_summit = (aside - np.float32(0.47 * anatomy.half_width)) / np.float32(0.53 * anatomy.half_width)
    outward = np.clip(from_summit, 0, 1.1)
    dome = top + np.float32(drop) * outward**2.6 + np.float32(0.8) * np.clip(-from_summit, 0, 1) ** 2
    open_above = soft_edge(dome - y, 0.08)
    recess = 0.10 * np.exp(-np.maximum(y - dome, 0) / 2.5)  # the lung behind the dome
    thickness = np.float32(0.66 * anatomy.depth) * np.sqrt(1 - (1 - down) ** 3) * profile
    thickness = thickness * (open_above + recess * (1 - open_above))
    return Lungs(
        thickness=np.asarray(thickness, np.float32),
        across=np.asarray(across, np.float32),
        dome=np.asarray(dome, np.float32),
        angle=float(height + drop),
        outer=np.asarray(outer, np.float32),
    )


def body(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Thickness of the whole body in cm as if it held no air: trunk, neck, shoulders, arms, breasts."""
    aside, s = np.abs(x), anatomy.scale
    down = np.clip(y / np.float32(anatomy.lung_height), -0.5, 1.5)
    wall = np.float32(anatomy.half_width + 1.6 + anatomy.fat) * (1 - 0.10 * np.clip(0.5 - down, 0, 0.5))
    shoulder = np.float32(-9.0 * s) + 0.55 * np.maximum(aside - np.float32(4 * s), 0)
    below = np.clip((y - shoulder) / np.float32(7.5 * s), 0, 1)
    trunk = np.float32(anatomy.depth) * (1 + 0.10 * down) * np.sqrt(np.clip(1 - (aside / wall) ** 3.2, 0, 1))
    trunk = trunk * np.sqrt(1 - (1 - below) ** 2)
    neck = 16.0 * s * np.sqrt(np.clip(1 - (aside / np.float32(5.8 * s + 0.5 * anatomy.fat)) ** 2.6, 0, 1))
    neck = neck * soft_edge(np.float32(2.0) - y, 1.0)
    shoulders = 14 * s * ellipsoid(aside, y, (14.5 * s, 3.0 * s), (8.5 * s, 7.5 * s), 0.35)
    reach = 19.5 if posture.view == "PA" else 18.5
    arm = 11 * s * np.sqrt(np.clip(1 - ((aside - reach * s - 0.12 * y) / np.float32(4.2 * s)) ** 2, 0, 1))
    arm = arm * soft_edge(y - np.float32(3.0), 0.8)
    thickness = np.maximum(np.maximum(trunk, neck), np.maximum(shoulders, arm))
    if anatomy.breast:
        middle = (7.8 * s + 0.1 * anatomy.fat, 0.80 * anatomy.lung_height)
        sag = soft_edge(y - np.float32(middle[1] - 2.5), 1.2)
        thickness = thickness + anatomy.breast * sag * ellipsoid(aside, y, middle, (6.0 * s, 5.4 * s)) ** 0.7
    return np.asarray(thickness, np.float32)


def mediastinum(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Thickness in cm of heart and great vessels; the heart's border spans `heart_ratio` of the rib cage."""
    side = -1 if posture.mirrored else 1
    s, width = anatomy.scale, 2 * anatomy.half_width * posture.heart_ratio
    u = np.float32(side) * (x - np.float32(posture.turn + posture.shift))
    floor = anatomy.lung_height * posture.breath + 1.0
    left, right = 0.69 * width, 0.31 * width
    # A tilted ellipse's half extent across is sqrt((a cos)^2 + (b sin)^2): the axes are scaled to fit the ratio.
    tilt, flat = anatomy.heart_tilt, 0.74
    a = 0.56 * width / float(np.hypot(np.cos(tilt), flat * np.sin(tilt)))
    extent = a * float(np.hypot(np.sin(tilt), flat * np.cos(tilt)))
    middle = (left - 0.56 * width, floor - min(0.62 * extent, 4.0 * s))
    ventricles = 10.0 * s * ellipsoid(u, y, middle, (a, flat * a), tilt) ** 0.8
    atrium = 8.0 * s * ellipsoid(u, y, (-right + 0.30 * width, floor - 3.6 * s), (0.30 * width, 5.2 * s)) ** 0.8
    trunk = 7.0 * s * ellipsoid(u, y, (1.7 * s, 10.4 * s), (2.6 * s, 4.6 * s), -0.2)
    knob = 7.0 * s * ellipsoid(u, y, (1.5 * s, 6.0 * s), (1.25 + anatomy.aortic_knob, 1.1 + anatomy.aortic_knob))
    cava = 6.0 * s * ellipsoid(u, y, (-1.2 * s, 6.5 * s), (2.4 * s, 9.0 * s))
    right_hilum = 2.2 * s * ellipsoid(u, y, (-3.4 * s, 11.2 * s), (1.7 * s, 2.8 * s)) ** 2
    left_hilum = 2.2 * s * ellipsoid(u, y, (3.6 * s, 10.0 * s), (1.7 * s, 2.8 * s)) ** 2
    parts = [ventricles, atrium, trunk, knob, cava, right_hilum, left_hilum]
    return np.asarray(np.maximum.reduce(parts), np.float32)


def airways(anatomy: Anatomy, posture: Posture, x: Plane, y: Plane) -> Plane:
    """Thickness in cm of the air in trachea, main bronchi and stomach."""
    s, side = anatomy.scale, -1 if posture.mirrored else 1
    u = np.float32(side) * (x - np.float32(0.6 * posture.turn + 0.7 * posture.shift))
    fork = 8.0 * s
    tube = np.sqrt(np.clip(1 - ((u + 0.15) / np.float32(0.85 * s)) ** 2, 0, 1)) * soft_edge(fork - y, 0.3)
    aside = np.abs(u)
    bronchi = np.sqrt(np.clip(1 - ((y - fork - 0.75 * aside) / np.float32(0.75 * s)) ** 2, 0, 1))
    bronchi = 0.6 * bronchi * soft_edge(np.float32(3.2 * s) - aside, 0.5)
    floor = anatomy.lung_height * posture.breath + anatomy.dome_step
    centre = (side * 6.0 * s, floor + 1.0 + 0.62 * anatomy.bubble)
    gas = 1.6 * anatomy.bubble * ellipsoid(x, y, centre, (1.5 * anatomy.bubble, 0.62 * anatomy.bubble), 0.15 * side)
    return np.asarray(1.7 * s * np.maximum(tube, bronchi) + gas, np.float32)


def attenuation(whole: Plane, air: Plane, heart: Plane, gas: Plane, vessels: Plane, bone: Plane) -> Plane:
    """Natural logarithm of the weakening of the rays: thicknesses in cm, the heart taking the place of lung."""
    lung = np.maximum(air - heart, 0.12 * air) * np.float32(1 - _LUNG_DENSITY)
    vessels = np.minimum(vessels, 0.5 * lung)
    soft = np.maximum(whole - lung - gas + vessels, 0)
    return np.asarray(np.float32(SOFT_PER_CM) * soft + np.float32(BONE_PER_CM) * bone, np.float32)
