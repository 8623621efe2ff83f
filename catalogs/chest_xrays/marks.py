"""Side markers and text burned into radiographs: where they are in one image, and what to hide in all of a cohort.

A network reads the hospital off such marks and a person may read a name, so one region is hidden in every image.
"""

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int64, Integer

MARKS_VERSION = 1
FEWEST_PIXELS = 128  # a side: strokes of letters are hardly a pixel wide below

BAND = 0.2  # of the image's height and width, along each of its borders
REGION_SHARE, REGION_LEAST = 0.05, 5  # of a cohort's images: where so many have a mark, it is hidden in all

# Lengths are parts of the longer side, about 40 cm.
_STROKE = 1 / 32  # 12 mm: strokes of lead letters are 2 to 6 mm wide, of text less
_LETTER = 1 / 6  # 7 cm: the longest extent of a letter with its frame, or of letters run together
_EDGE = 1 / 256  # 1.6 mm: within so much of both sides an inked edge rises; ribs and vessels take longer
_MARGIN = 1 / 64  # 6 mm: what blur and JPEG leave about ink
_WORD = 1 / 32  # 12 mm: from one letter to the next
_STEPS = 3  # from ink to ink, so that a word follows from one letter and anatomy beside a mark soon ends
# Grey, of 0..1.
_BRIGHT = 0.2  # how far lead or white ink stands out at least, on average
_DARK = 0.3  # black ink: it is on bright ground, or not seen; the lungs' corners stand out by 0.2
_FAINT = 0.1  # ink beside such ink
_WHITE, _PALE = 0.9, 0.13  # lead that shows as white, on ground so bright that it cannot stand out by more
_NOISE = 8.0  # sigma: in white noise single pixels stand out by up to 7 from the lowest ground around


def find_marks(image: Float[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """True where letters, side markers, text or arrows are burned in near the borders, with a margin around them.

    `image` is a radiograph as a network sees it, on a square of 128 to 1024 pixels: 0 (black) to 1 (white), NaN where
    padded. Ink is what stands out from its ground, brighter by 0.2 (0.13 if it is white) or darker by 0.3, with strokes
    below 12 mm, sharp edges and parts below 7 cm, if most of it is in the outer fifth of the valid image on any side;
    fainter ink is added beside it. Nothing is found in an image of one grey, of noise or without valid pixels.

    Measured at 256 pixels. On 420 simulated radiographs without marks, of all borders: a false alarm in 4 percent. Of
    planted ink (side markers, single letters and text, white, grey and black) whose contrast in these pixels is above
    0.3, the mean share of its pixels that is hidden: 97 percent on simulated radiographs, 99 on real ones (NIH
    ChestX-ray14), on parts of both of which the constants were chosen. At 128 pixels 30 percent of 190 simulated
    radiographs without marks, some with devices, had an alarm. Missed are lead that stands out by less than 0.2, faint
    text (a third of it at 0.2 to 0.3), marks on the edge of a white border and text over the lungs' middle. Snaps and
    clips of cables near the borders are found as well, and some bone beside a mark.
    """
    marks = np.zeros(image.shape, bool)
    valid = np.isfinite(image)
    if not valid.any():
        return marks
    rows, columns = (np.flatnonzero(valid.any(axis)) for axis in (1, 0))
    frame = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    size = max(image.shape)
    marks[frame] = _ink(np.where(valid, image, np.nan)[frame].astype(np.float32), size)
    return _grown(marks, _pixels(_MARGIN, size))


def hidden_region(counts: Int64[np.ndarray, "y x"], images: int) -> Bool[np.ndarray, "y x"]:
    """What to hide in every image of a cohort, from the number of its `images` with a mark at each pixel.

    Where 5 percent of the images and at least 5 have a mark, with gaps of 2/32 of the side closed: the union of all
    marks would grow with every false alarm, to half of the frame. What stands elsewhere is painted over
    (`painted_over`). False everywhere for no images or no marks.
    """
    assert counts.max(initial=0) <= images, f"{counts.max()} marks in {images} images"
    often = counts >= max(REGION_LEAST, ceil(REGION_SHARE * images))
    gap = 2 * _pixels(_MARGIN, max(counts.shape))
    return ~_grown(~_grown(often, gap), gap)


def painted_over(image: Float32[np.ndarray, "y x"], marks: Bool[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """The image with a smooth continuation of its surroundings where marks are; NaN stays.

    Gaussian weights of the unmarked pixels (normalised convolution, Knutsson & Westin 1993); beyond their reach, within
    a mark of a quarter of the frame, their median.
    """
    from scipy.ndimage import gaussian_filter

    known = np.isfinite(image) & ~marks
    if not marks.any() or not known.any():
        return image
    sigma = max(image.shape) / 32
    weight = gaussian_filter(known.astype(np.float32), sigma)
    around = gaussian_filter(np.where(known, image, np.float32(0)), sigma)
    fill = np.where(weight > 1e-4, around / np.maximum(weight, 1e-4), np.median(image[known])).astype(np.float32)
    return np.where(marks & np.isfinite(image), fill, image)


def _ink(image: Float32[np.ndarray, "y x"], size: int) -> Bool[np.ndarray, "y x"]:
    """The marks' strokes; the image is NaN where padded, and `size` the side of the square it comes from."""
    from scipy.ndimage import label  # not needed to read

    height, width = image.shape
    stroke = 2 * _pixels(_STROKE / 2, size) + 1
    valid = np.isfinite(image)
    # Padding is black to whoever looks at it, and marks stand on it. Beyond the frame its edges go on, lest a white
    # border's remnant be a stroke, unless they are ink on the padding.
    grey = np.pad(np.where(valid, image, np.float32(0)), stroke, mode="edge")
    edges = (valid[0], valid[-1], valid[:, 0], valid[:, -1])
    for edge, beyond in zip(edges, (grey, grey[::-1], grey.T, grey.T[::-1]), strict=True):
        if edge.mean() < 0.25:
            beyond[:stroke] = 0
    middle = slice(stroke, stroke + height), slice(stroke, stroke + width)
    reach = 2 * _pixels(_EDGE, size) + 1
    steep = _extreme(grey, reach, np.maximum) - _extreme(grey, reach, np.minimum)
    steep = _extreme(steep, reach, np.maximum)[middle]
    band = np.ones((height, width), bool)
    deep, wide = ceil(BAND * height), ceil(BAND * width)
    band[deep : height - deep, wide : width - wide] = False
    faint = np.float32(max(_FAINT, _NOISE * _noise(image)))
    found: list[tuple[Integer[np.ndarray, "y x"], Int8[np.ndarray, " part"]]] = []
    for sign, least in ((np.float32(1), _BRIGHT), (np.float32(-1), _DARK)):
        contrast = _top_hat(sign * grey, stroke)
        strokes = contrast > np.maximum(np.float32(0.5) * _extreme(contrast, stroke, np.maximum), faint)
        parts, _ = label(strokes[middle] & valid, np.ones((3, 3)))
        found.append((parts, _kinds(parts, contrast[middle], steep, sign * grey[middle], band, least, size)))
    marks = np.logical_or.reduce([kinds[parts] == 2 for parts, kinds in found])
    for _ in range(_STEPS if marks.any() else 0):
        beside = _grown(marks, _pixels(_WORD, size))
        for parts, kinds in found:
            added = np.bincount(parts[beside], minlength=len(kinds)).astype(bool) & (kinds > 0)
            marks |= added[parts]
    return np.asarray(marks)


def _kinds(
    parts: Integer[np.ndarray, "y x"],
    contrast: Float32[np.ndarray, "y x"],
    steep: Float32[np.ndarray, "y x"],
    grey: Float32[np.ndarray, "y x"],
    band: Bool[np.ndarray, "y x"],
    least: float,
    size: int,
) -> Int8[np.ndarray, " part"]:
    """Of each part, the ground (0) included: 2 for a mark's stroke, 1 if it is one beside a mark, else 0."""
    from scipy.ndimage import find_objects

    pixels = np.flatnonzero(parts)
    part = parts.ravel()[pixels]
    area = np.bincount(part, minlength=1)

    def mean(plane: np.ndarray) -> np.ndarray:
        return np.bincount(part, plane.ravel()[pixels], len(area)) / np.maximum(area, 1)

    extents = [max(y.stop - y.start, x.stop - x.start) for y, x in find_objects(parts)]
    extent, stands_out = np.array([0, *extents]), mean(contrast)
    sharp = (mean(steep) >= stands_out) & (area > 0)
    sharp[0] = False
    beside = sharp & (extent <= _LETTER / 2 * size) & (area >= max(2, size / 128))
    enough = np.where(mean(grey) >= _WHITE, _PALE, least)
    mark = sharp & (extent <= _LETTER * size) & (area >= max(3, size / 64))
    mark &= (stands_out >= enough) & (mean(band) > 0.5)
    return np.where(mark, 2, beside).astype(np.int8)


def _top_hat(grey: Float32[np.ndarray, "y x"], width: int) -> Float32[np.ndarray, "y x"]:
    """How far each pixel is brighter than its ground: what a square of `width` fits into, and what goes on from there.

    Opening by partial reconstruction (Vincent 1993), so that corners of what is larger than the square stay ground.
    """
    ground = _extreme(_extreme(grey, width, np.minimum), width, np.maximum)
    for _ in range(width // 2):
        ground = np.minimum(_extreme(ground, 3, np.maximum), grey)
    return np.asarray(grey - ground)


def _noise(image: Float32[np.ndarray, "y x"]) -> float:
    """Sigma of white noise from second differences along both axes (Immerkaer 1996), by their median; 0 for none."""
    second = np.abs(np.diff(np.diff(image, 2, axis=0), 2, axis=1))
    second = second[np.isfinite(second)]
    return float(np.median(second)) / (0.6745 * 6) if second.size else 0.0


def _grown(marks: Bool[np.ndarray, "y x"], distance: int) -> Bool[np.ndarray, "y x"]:
    return np.asarray(_extreme(marks, 2 * distance + 1, np.logical_or))


def _extreme(plane: np.ndarray, width: int, extreme: Callable[..., Any]) -> np.ndarray:
    """Maximum or minimum in the square of odd `width` about each pixel; 10 times as fast as scipy's at float32.

    The edges go on beyond the frame. Windows of 2, 4, 8 ... pixels are made of two of half their length (van Herk).
    """
    half = width // 2
    for _ in range(2):
        plane = np.concatenate([np.repeat(plane[:1], half, 0), plane, np.repeat(plane[-1:], half, 0)])
        span = 1
        while 2 * span <= width:
            plane = extreme(plane[:-span], plane[span:])
            span *= 2
        if span < width:
            plane = extreme(plane[: span - width], plane[width - span :])
        plane = plane.T
    return plane


def _pixels(length: float, size: int) -> int:
    return max(1, round(length * size))
