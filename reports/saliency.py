"""Saliency on the page: first whether maps show more than the image, then images and their maps side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float, UInt8

from reports.payload import webp

# Of seven methods on chest radiographs; the paper's abstract.
LOCALISATION = (
    "Saliency is not localisation. On chest radiographs all of seven saliency methods localised findings "
    "significantly worse than radiologists; Grad-CAM generally did better than the other six (Saporta et al. 2022, "
    "Nature Machine Intelligence 4, 867)."
)
STATES = {"passed": "better", "image": "worse", "open": "unknown", "few": "unknown"}
_HEAT = np.array([[60, 20, 90], [190, 50, 90], [250, 140, 40], [255, 245, 150]], np.float64)  # low to high
_OPAQUE = 0.75  # of the colour where a map is 1
_EVEN = 0.7  # mean of a map, whose largest is 1, above which no place stands out
_DIM = 0.7  # of the image's brightness below it
_THIRDS = (("upper", "middle", "lower"), ("left", "centre", "right"))


@final
@dataclass(frozen=True)
class SaliencyLabel:
    """The maps of one label: how they are made, what the check on randomised weights says, and the objects.

    `encoders` and `heads` hold value, low, high, unsigned, objects and randomisations of the rank correlation with maps
    of random encoders and of heads that learnt permuted labels, None where that is not asked. `items` hold object_id,
    of (the answer a map is of), score, answer, truth, right, why, empty (nothing speaks for the answer); one picture
    (RGB, 0..255) and one map (0..1, NaN where nothing is shown) each. Raises ValueError where these do not fit.
    """

    label: str
    how: str
    verdict: Literal["passed", "image", "open", "few"]
    encoders: Mapping[str, Any] | None
    heads: Mapping[str, Any] | None
    items: Sequence[Mapping[str, Any]]
    pictures: UInt8[np.ndarray, "k s s 3"]
    maps: Float[np.ndarray, "k s s"]

    def __post_init__(self) -> None:
        if not len(self.items) == len(self.pictures) == len(self.maps):
            raise ValueError(
                f"{self.label}: {len(self.pictures)} pictures and {len(self.maps)} maps for {len(self.items)} objects"
            )


def saliency_link(labels: Sequence[SaliencyLabel]) -> str:
    """An entry of the page's contents, where there are maps."""
    return '\n<a href="#saliency">Saliency</a>' if labels else ""


def saliency_section(labels: Sequence[SaliencyLabel]) -> str:
    """The section, one part a label: each begins with its finding; nothing where no maps were made."""
    if not labels:
        return ""
    parts = "".join(map(_label, labels))
    return (
        '<section id="saliency" aria-labelledby="saliency-heading">\n<h2 id="saliency-heading">Saliency</h2>'
        f'{parts}<p class="soft how">'
        f"How to read: {escape(labels[0].how)} Left the image, right its map over it, from nothing "
        f"(the image in grey) to the most: {_legend()}. Objects of the test half, one a group (patient, tile): a third "
        "are the surest right answers, a third the surest wrong ones, the others are drawn; chosen before any map was "
        "seen. Nothing is shown on pixels that are hidden or invalid.</p>\n</section>\n"
    )


def overlay(picture: UInt8[np.ndarray, "s s 3"], values: Float[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s 3"]:
    """The image in dim grey with a map of 0..1 in colour over it; as it is where the map is NaN."""
    shown = np.isfinite(values)
    strength = np.where(shown, values, 0.0).clip(0, 1).astype(np.float64)
    grey = _DIM * np.repeat(picture.astype(np.float64).mean(axis=2, keepdims=True), 3, axis=2)
    opaque = _OPAQUE * strength[:, :, None]
    mixed = np.where(shown[:, :, None], grey * (1 - opaque) + _colours(strength) * opaque, picture)
    return np.asarray(np.rint(mixed), np.uint8)


def place(values: Float[np.ndarray, "s s"]) -> str:
    """In which ninth of the image most of a map lies, in words; "nowhere" for an empty one."""
    parts = [
        [np.nansum(cell) for cell in np.array_split(band, 3, axis=1)] for band in np.array_split(values, 3, axis=0)
    ]
    most = np.array(parts, np.float64)
    if not most.any():
        return "nowhere"
    row, column = np.unravel_index(most.argmax(), most.shape)
    return f"{_THIRDS[0][row]} {_THIRDS[1][column]}"


def _label(shown: SaliencyLabel) -> str:
    cards = "".join(
        _card(item, picture, values)
        for item, picture, values in zip(shown.items, shown.pictures, shown.maps, strict=True)
    )
    if not cards:
        cards = '<p class="soft">No object of the test half has this label.</p>'
    return (
        f'<div class="label-column"><h3>{escape(shown.label)}</h3>'
        f'<div class="verdict {STATES[shown.verdict]}"><p><strong>{_said(shown)}</strong> {_numbers(shown)}</p>'
        f"<p>{LOCALISATION}</p></div>"
        f'<ul class="saliency">{cards}</ul></div>'
    )


def _said(shown: SaliencyLabel) -> str:
    if shown.verdict == "image":
        return "These maps show the image, not what was learnt."
    if shown.verdict == "passed":
        return "These maps change when what was learnt is taken away: the check on randomised weights was passed."
    if shown.verdict == "few":
        return "Whether these maps show more than the image is not estimable: too few objects have one."
    return "Whether these maps show more than the image is not clear."


def _numbers(shown: SaliencyLabel) -> str:
    told = [
        f"{_range(facts)} with those of {facts['randomisations']} {what} ({facts['objects']:,} objects; whatever its "
        f"sign, {_plain(facts['unsigned'])})"
        for facts, what in ((shown.encoders, "random encoders"), (shown.heads, "heads that learnt permuted labels"))
        if facts is not None
    ]
    if not told:
        return ""
    whether = "" if shown.heads is not None else " Heads have no say in them."
    return (
        f"Their mean rank correlation is {', and '.join(told)}; clearly above 0.5 would be maps of the image (Adebayo "
        f"et al. 2018).{whether}"
    )


def _card(item: Mapping[str, Any], picture: UInt8[np.ndarray, "s s 3"], values: Float[np.ndarray, "s s"]) -> str:
    name, of = escape(str(item["object_id"])), escape(str(item["of"]))
    where = "nothing speaks for it" if item["empty"] else f"most of it {place(values)}"
    answer, truth = escape(str(item["answer"])), escape(str(item["truth"]))
    told = [] if answer == of else [f"answer: {answer}"]
    told += ["right" if item["right"] else f"wrong: it is {truth}", str(item["why"])]
    told += ["nothing speaks for it"] if item["empty"] else []
    told += ["nearly even: no place stands out"] if np.isfinite(values).any() and np.nanmean(values) > _EVEN else []
    flags = "".join(f'<span class="flag">{text}</span>' for text in told)
    return (
        f'<li><div class="pair">{_image(picture, f"Image of {name}")}'
        f"{_image(overlay(picture, values), f'Map for {of} over the image of {name}: {where}')}</div>"
        f'<div class="heading"><span class="rank" title="the answer that the map is of">{of}</span>'
        f'<span class="score">score {_plain(item["score"])}</span></div><div class="id">{name}</div>{flags}</li>'
    )


def _image(picture: UInt8[np.ndarray, "s s 3"], text: str) -> str:
    encoded = webp(np.ascontiguousarray(picture), quality=80)
    return f'<img class="picture" alt="{text}" src="data:image/webp;base64,{encoded}">'


def _legend() -> str:
    colours = ", ".join(f"rgb({red:.0f} {green:.0f} {blue:.0f})" for red, green, blue in _colours(np.linspace(0, 1, 5)))
    return (
        '<span class="heat" role="img" aria-label="from dark violet to bright yellow" '
        f'style="background: linear-gradient(to right, {colours})"></span>'
    )


def _colours(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s 3"]:
    places = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, places, channel) for channel in _HEAT.T], axis=-1)


def _range(facts: Mapping[str, Any]) -> str:
    if not np.isfinite(facts["low"]):
        return f"{_plain(facts['value'])} (no interval)"
    return f"{_plain(facts['value'])} ({_plain(facts['low'])} to {_plain(facts['high'])})"


def _plain(value: float) -> str:
    return "not estimable" if not np.isfinite(value) else f"{value:.2f}".replace("-", "−")
