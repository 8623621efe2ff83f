"""Pictures of source values: one choice between linear flux and display values, shared by the domains."""

import numpy as np
from jaxtyping import Float, UInt8

from reports.rendering import render_display, render_linear


def render(
    pixels: Float[np.ndarray, "n c h w"], bands: tuple[str, ...], scale: Float[np.ndarray, " c"] | None
) -> UInt8[np.ndarray, "n h w 3"]:
    """Colour pictures of linear flux by an asinh stretch in units of `scale`; of display values as they are."""
    if scale is None:
        return render_display(pixels)
    return render_linear(pixels, bands, scale)
