"""Three invented devices. What each does to a picture tells which it was, as with real ones: sites own other mixes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scanner:
    """One device: how it digitises, and how its processing looks. Factors are 1 and differences 0 for the plain one."""

    model: str
    digital: bool  # DX rather than CR
    bits: tuple[int, int]  # stored, of which each file has one
    inverse: float  # the share of files that are MONOCHROME1
    field: float  # the field of view beside the plain device's, and with it the spacing of the pixels
    noise: float
    contrast: float
    gamma: float
    evening: float  # added to the part of the slow variation that is taken out
    edges: float  # strength of the edge enhancement


SCANNERS: tuple[Scanner, ...] = (
    Scanner("Simulated thorax D1", True, (12, 14), 0.15, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0),
    Scanner("Simulated thorax C2", False, (10, 12), 0.65, 1.04, 1.7, 0.92, 0.86, -0.04, 0.15),
    Scanner("Simulated thorax D3", True, (14, 16), 0.15, 0.97, 0.8, 1.12, 1.1, 0.14, 0.7),
)
BY_MODEL: dict[str, Scanner] = {scanner.model: scanner for scanner in SCANNERS}
