"""Pictures of what the method of pretraining does: tables of small images or maps, and arrows on a plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float, UInt8

from reports.figures import arrows_on_a_plane
from reports.payload import webp

_MAP = np.array([[20, 24, 40], [46, 94, 140], [90, 170, 130], [250, 230, 120]], np.float64)  # dark to bright


@final
@dataclass(frozen=True)
class Drawn:
    """One panel: images (row, column, y, x, RGB) of 0..255, maps (row, column, y, x) of 0..1, or arrows (n, 4)."""

    title: str
    note: str
    kind: Literal["images", "maps", "arrows"]
    values: UInt8[np.ndarray, "..."] | Float[np.ndarray, "..."]
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


def panels_section(panels: Sequence[Drawn]) -> str:
    """All panels under their titles; nothing where there are none."""
    return "".join(_panel(panel, number) for number, panel in enumerate(panels))


def _panel(panel: Drawn, number: int) -> str:
    heading = f'<h3>{escape(panel.title)}</h3><p class="soft">{escape(panel.note)}</p>'
    if panel.kind == "arrows":
        return f'{heading}<div class="figure">{arrows_on_a_plane(panel.values, f"arrows-{number}", panel.title)}</div>'
    pictures = panel.values if panel.kind == "images" else _coloured(panel.values)
    columns = list(panel.columns) or [""] * pictures.shape[1]
    rows = list(panel.rows) or [""] * len(pictures)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns) if any(columns) else ""
    head = f"<thead><tr>{'<td></td>' if any(rows) else ''}{head}</tr></thead>" if head else ""
    body = ""
    for row, line in zip(rows, pictures, strict=True):
        cells = "".join(
            f"<td>{_image(picture, ', '.join(filter(None, (row, column))) or panel.title)}</td>"
            for column, picture in zip(columns, line, strict=True)
        )
        name = f'<th scope="row">{escape(row)}</th>' if any(rows) else ""
        body += f"<tr>{name}{cells}</tr>"
    return f'{heading}<div class="scroll"><table class="panel">{head}<tbody>{body}</tbody></table></div>'


def _image(picture: UInt8[np.ndarray, "h w 3"], name: str) -> str:
    return f'<img alt="{escape(name)}" src="data:image/webp;base64,{webp(np.ascontiguousarray(picture), quality=86)}">'


def _coloured(values: Any) -> UInt8[np.ndarray, "r c h w 3"]:
    """Maps from dark to bright; what is not finite is black."""
    known = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    places = np.linspace(0, 1, len(_MAP))
    colours = np.stack([np.interp(known, places, channel) for channel in _MAP.T], axis=-1)
    coloured: UInt8[np.ndarray, "r c h w 3"] = np.rint(colours).astype(np.uint8)
    return coloured
