"""Pixels to pictures for the eye: an asinh stretch for linear flux, a copy or a window for display images."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

# Effective wavelengths in nm by lower-case name, only used to order bands.
WAVELENGTH_NM: dict[str, int] = {
    "fuv": 153, "nuv": 227, "u": 355, "b": 445, "g": 475, "v": 551, "r": 622, "vis": 715, "i": 763, "z": 905, "y": 1020,
    "j": 1250, "h": 1650, "k": 2190, "ks": 2160, "w1": 3350, "w2": 4600, "w3": 11560, "w4": 22090,
    "f275w": 272, "f336w": 335, "f435w": 433, "f475w": 476, "f555w": 533, "f606w": 592, "f775w": 770, "f814w": 806,
    "f850lp": 904, "f098m": 986, "f105w": 1055, "f110w": 1150, "f125w": 1248, "f140w": 1392, "f160w": 1537,
}  # fmt: skip


def wavelength_order(bands: Sequence[str]) -> list[int]:
    """Positions of `bands` from the shortest to the longest wavelength.

    Names are compared without case and may carry an instrument ("HSC-G", "decam_z"). If any band is not in
    `WAVELENGTH_NM`, the order given is kept: it is taken to run from blue to red.
    """
    known = [_wavelength(band) for band in bands]
    wavelengths = [value for value in known if value is not None]
    if len(wavelengths) < len(known):
        return list(range(len(bands)))
    return sorted(range(len(bands)), key=wavelengths.__getitem__)


def render_linear(
    pixels: Float[np.ndarray, "n c h w"],
    bands: Sequence[str],
    scale: Float[np.ndarray, " c"],
    *,
    stretch: float = 15.0,
    softening: float = 10.0,
    minimum: float = -0.5,
) -> UInt8[np.ndarray, "n h w 3"]:
    """Colour pictures of linear flux: one asinh stretch of the mean intensity for all channels, so that colour is kept.

    `scale` is the sky sigma of each band in the units of `pixels`. `stretch`, `softening` (Q) and `minimum` (rendered
    black) are in sky sigma after division by `scale`: smaller `stretch` lifts faint light, larger `softening` holds
    back bright cores. A channel that would exceed white is held at white and the others follow, keeping hue. One band
    gives grey; two give blue, their mean, red; three give shortest, middle, longest; more are averaged in three groups
    of neighbouring wavelengths. NaN and infinite pixels count as zero flux. No objects give an empty array.
    Raises ValueError if `bands` and `scale` do not fit the pixels, or a scale is not positive.

    Source: Lupton et al. 2004, PASP 116, 133 (equation 2, and section 2 for the clipping).
    """
    if pixels.shape[1] != len(bands) or not bands:
        raise ValueError(f"bands: {len(bands)} names for pixels with {pixels.shape[1]} bands; give one name a band")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"scale: {scale.tolist()} must be positive and finite; give each band's sky sigma")
    if stretch <= 0 or softening <= 0:
        raise ValueError(f"stretch {stretch} and softening {softening} must be positive; give both in sky sigma")
    flux = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    flux /= scale.astype(np.float32)[:, None, None]
    channels = np.stack([flux[:, group].mean(axis=1) for group in _channel_groups(bands)], axis=-1) - np.float32(
        minimum
    )
    intensity = channels.mean(axis=-1, keepdims=True)
    # 0.1 is where the slope is matched to a linear stretch, as in astropy's make_lupton_rgb, so that Q means the same.
    mapped = 0.1 / np.arcsinh(0.1 * softening) * np.arcsinh(intensity * np.float32(softening / stretch))
    gain = np.divide(mapped, intensity, out=np.zeros_like(intensity), where=intensity > 0)
    coloured = np.maximum(channels * gain, 0)
    coloured /= np.maximum(coloured.max(axis=-1, keepdims=True), 1)
    picture: UInt8[np.ndarray, "n h w 3"] = np.rint(coloured * 255).astype(np.uint8)
    return picture


def render_display(pixels: Float[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Pictures from display images, unchanged but for 8 bits a channel.

    `pixels` lie in 0..1 (values outside are clipped) with one channel (grey) or three (red, green, blue); NaN is black.
    Raises ValueError for another number of channels.
    """
    if pixels.shape[1] not in (1, 3):
        raise ValueError(f"pixels: {pixels.shape[1]} channels; a display image has 1 (grey) or 3 (red, green, blue)")
    levels = np.rint(np.clip(np.nan_to_num(pixels.astype(np.float32), nan=0.0), 0, 1) * 255).astype(np.uint8)
    channel_last = np.moveaxis(levels, 1, -1)
    return np.ascontiguousarray(np.broadcast_to(channel_last, (*channel_last.shape[:3], 3)))


def render_window(
    pixels: Float[np.ndarray, "n c h w"], level: float | int | None = None, window: float | int | None = None
) -> UInt8[np.ndarray, "n h w 3"]:
    """Grey pictures by window and level: black below level - window/2, white above level + window/2, linear between.

    `level` and `window` are in the units of `pixels` and hold for all images. What is not given is each image's own,
    from the central 98 % of its finite pixels (from all of them where those 98 % are one value). An image of one value
    is middle grey, the colour of its level. NaN is black, infinity white and minus infinity black; no image gives an
    empty array. Three channels are windowed alike. Raises ValueError for another number of channels, a window that is
    not positive or a level that is not finite.

    Source: DICOM PS3.3 C.11.2.1.2.1 in the continuous form of C.11.2.1.3.2 (LINEAR_EXACT).
    """
    if pixels.shape[1] not in (1, 3):
        raise ValueError(f"pixels: {pixels.shape[1]} channels; a windowed image has 1 (grey) or 3")
    if window is not None and not (np.isfinite(window) and window > 0):
        raise ValueError(f"window {window} must be positive and finite; give the width in the units of the pixels")
    if level is not None and not np.isfinite(level):
        raise ValueError(f"level {level} must be finite; give the middle of the window in the units of the pixels")
    grey = np.zeros(pixels.shape, np.uint8)
    for image, picture in zip(pixels, grey, strict=True):
        low, high = _central_range(image)
        middle = (low + high) / 2 if level is None else float(level)
        width = high - low if window is None else float(window)
        # float64: neither the ends of float32 nor a window far narrower than the level may overflow or vanish.
        offset = image.astype(np.float64) - middle
        with np.errstate(over="ignore"):
            shade = offset / width + 0.5 if width > 0 else np.sign(offset) / 2 + 0.5
        picture[...] = np.rint(np.clip(np.nan_to_num(shade, nan=0.0), 0, 1) * 255)
    channel_last = np.moveaxis(grey, 1, -1)
    return np.ascontiguousarray(np.broadcast_to(channel_last, (*channel_last.shape[:3], 3)))


def _central_range(image: Float[np.ndarray, "c h w"]) -> tuple[float, float]:
    """The ends of the central 98 % of the finite pixels, of all of them if those are equal; zeros if none is finite."""
    finite = image[np.isfinite(image)].astype(np.float64)
    if not finite.size:
        return 0.0, 0.0
    low, high = np.quantile(finite, (0.01, 0.99))
    return (float(low), float(high)) if low < high else (float(finite.min()), float(finite.max()))


def _wavelength(band: str) -> int | None:
    """The wavelength of a band's name, or of the last part of it that is a known name."""
    parts = [band.lower(), *reversed(re.split(r"[^a-z0-9]+", band.lower()))]
    return next((WAVELENGTH_NM[part] for part in parts if part in WAVELENGTH_NM), None)


def _channel_groups(bands: Sequence[str]) -> list[list[int]]:
    """Which bands are averaged into red, green and blue."""
    order = wavelength_order(bands)
    if len(order) <= 2:
        return [[order[-1]], order, [order[0]]]
    # Symmetric sizes: 4 bands as 1 2 1, 5 as 2 1 2, so that no end of the spectrum weighs more.
    share, rest = divmod(len(order), 3)
    end = share + (rest == 2)
    return [order[len(order) - end :], order[end : len(order) - end], order[:end]]
