"""The report: one HTML file that opens from disk, needs no network and runs only scripts of its own."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int64, UInt8

from reports import payload, sections
from reports.atomic import replacing
from reports.audit import audit_section
from reports.baselines import baselines_section
from reports.label_lists import LabelList, label_list_links, label_list_sections
from reports.model_card import ModelCard, card_html
from reports.panels import Drawn, panels_section
from reports.projection import FEWEST_FOR_UMAP
from reports.saliency import SaliencyLabel, saliency_link, saliency_section
from reports.subgroups import subgroups_section
from reports.trust import trust_section

# In the order they run: the first gives the second what it uses.
SCRIPTS = ("selection.js", "page.js")


@dataclass(frozen=True)
class Page:
    """What the report shows; raises ValueError where two parts do not fit each other, and for no objects at all.

    `notices` are sentences for a banner ("These galaxies are simulated."), `findings` for a list; `begins` are those
    that a section begins with, by "map", "anomalies", "trouble" and "training". The map is
    `object_ids` (unique) at `xy` (finite), coloured by any of `columns`: name to one value per object, texts or
    numbers, unknown where None, NaN or "". `thumbnails` (RGB, 0..255) belong to the rows `thumbnail_rows`, or to all
    objects in order where that is None. `metrics` are the rows of metrics.json, `trust` the entries of certainty.json,
    `audit` those of audit.json, `saliency` the maps of each label. `anomalies` hold rank, object_id, score, and
    optionally flags (texts) and links (name to URL, http or https only), the strangest first, each with its picture in
    `anomaly_pictures`; `trouble` and
    `trouble_pictures`, of the same form and ranking, hold instead the objects whose images are at fault, their flags
    saying how: empty where none was found, None (and then no section) where nobody looked. `training` holds one record
    an epoch (see figures.training_curves), `guard` which encoder was chosen and why (see sections.training), `panels`
    pictures of what the method does, `quarantine` the number of objects left out by reason, `provenance` nested facts.
    Parts that are empty are said to be absent; `label_lists`, each a section after the anomalies, are left out where
    they are, and so is the `card`. `baselines` are the entries of baselines.json, `subgroups` those of subgroups.json.
    """

    title: str
    subtitle: str
    object_ids: Sequence[str]
    xy: Float[np.ndarray, "n 2"]
    columns: Mapping[str, Any] = field(default_factory=dict)
    notices: Sequence[str] = ()
    findings: Sequence[str] = ()
    begins: Mapping[str, Sequence[str]] = field(default_factory=dict)
    thumbnails: UInt8[np.ndarray, "m t t 3"] | None = None
    thumbnail_rows: Int64[np.ndarray, " m"] | None = None
    metrics: Sequence[Mapping[str, Any]] = ()
    trust: Sequence[Mapping[str, Any]] = ()
    audit: Sequence[Mapping[str, Any]] = ()
    subgroups: Sequence[Mapping[str, Any]] = ()
    baselines: Sequence[Mapping[str, Any]] = ()
    saliency: Sequence[SaliencyLabel] = ()
    anomalies: Sequence[Mapping[str, Any]] = ()
    anomaly_pictures: UInt8[np.ndarray, "k p p 3"] | None = None
    trouble: Sequence[Mapping[str, Any]] | None = None
    trouble_pictures: UInt8[np.ndarray, "j q q 3"] | None = None
    label_lists: Sequence[LabelList] = ()
    training: Sequence[Mapping[str, Any]] = ()
    guard: Mapping[str, Any] | None = None
    panels: Sequence[Drawn] = ()
    quarantine: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    card: ModelCard | None = None

    def __post_init__(self) -> None:
        count = len(self.object_ids)
        if not count:
            raise ValueError("page: no objects to show; the catalog is empty or all of it is in quarantine")
        if len(set(self.object_ids)) < count:
            raise ValueError("page: an object_id occurs more than once; give each object its own")
        if len(self.xy) != count or not np.isfinite(self.xy).all():
            raise ValueError(f"page: xy of shape {self.xy.shape} must hold a finite point for each of {count} objects")
        for name, values in self.columns.items():
            if len(values) != count:
                raise ValueError(f"page: column {name!r} holds {len(values)} values for {count} objects")
        if self.thumbnails is None and self.thumbnail_rows is not None:
            raise ValueError("page: thumbnail_rows are given without thumbnails")
        rows = self._thumbnail_rows()
        if self.thumbnails is not None and len(rows) != len(self.thumbnails):
            raise ValueError(f"page: {len(self.thumbnails)} thumbnails for {len(rows)} rows; give thumbnail_rows")
        if rows.size and (rows.min() < 0 or rows.max() >= count):
            raise ValueError(
                f"page: thumbnail_rows reach from {rows.min()} to {rows.max()}, objects from 0 to {count - 1}"
            )
        if self.anomaly_pictures is not None and len(self.anomaly_pictures) != len(self.anomalies):
            raise ValueError(f"page: {len(self.anomaly_pictures)} pictures for {len(self.anomalies)} anomalies")
        trouble = self.trouble or ()
        if self.trouble_pictures is not None and len(self.trouble_pictures) != len(trouble):
            raise ValueError(f"page: {len(self.trouble_pictures)} pictures for {len(trouble)} objects in trouble")
        twice = {str(item["object_id"]) for item in trouble} & {str(item["object_id"]) for item in self.anomalies}
        if twice:
            raise ValueError(f"page: {min(twice)} stands among the anomalies and in trouble; show it in one of them")

    def _thumbnail_rows(self) -> Int64[np.ndarray, " m"]:
        if self.thumbnail_rows is not None:
            return self.thumbnail_rows
        return np.arange(0 if self.thumbnails is None else len(self.object_ids))


def write_page(path: Path, page: Page) -> None:
    """Writes the report as one UTF-8 HTML file, under another name first; equal pages give equal files.

    Its content security policy allows its own scripts by hash, pictures inside the file, and nothing else: no request
    leaves, and no text that comes from data can run.
    """
    row_of = {name: row for row, name in enumerate(page.object_ids)}
    scripts = [_asset(name) for name in SCRIPTS]
    assert not any("</script" in script.lower() for script in scripts)
    count = len(page.object_ids)
    text = Template(_asset("page.html")).substitute(
        title=escape(page.title),
        subtitle=escape(page.subtitle),
        style=_asset("page.css"),
        script_hashes=" ".join(map(_hash_source, scripts)),
        object_count="1 object" if count == 1 else f"{count:,} objects",
        projection="UMAP" if count >= FEWEST_FOR_UMAP else "principal components",
        notices=sections.sentences(page.notices, "notices"),
        findings=sections.sentences(page.findings, "findings", empty="None were written for this run."),
        map_begins=sections.begun_with(page.begins.get("map", ())),
        few_labels=sections.few_labels(page.metrics),
        trust_link='\n<a href="#trust">Trust</a>' if page.trust else "",
        trust=trust_section(page.trust),
        audit_link='\n<a href="#shortcuts">Shortcuts</a>' if page.audit else "",
        audit=audit_section(page.audit) + baselines_section(page.baselines),
        subgroups_link='\n<a href="#subgroups">Subgroups</a>' if subgroups_section(page.subgroups) else "",
        subgroups=subgroups_section(page.subgroups),
        saliency_link=saliency_link(page.saliency),
        saliency=saliency_section(page.saliency),
        anomalies_begin=sections.begun_with(page.begins.get("anomalies", ())),
        anomalies=sections.anomalies(page.anomalies, page.anomaly_pictures, row_of, trouble_apart=bool(page.trouble)),
        trouble_link='\n<a href="#input-trouble">Input trouble</a>' if page.trouble else "",
        trouble=_trouble(page, row_of),
        label_list_links=label_list_links(page.label_lists),
        label_lists=label_list_sections(page.label_lists, row_of),
        training=sections.begun_with(page.begins.get("training", ()))
        + sections.training(page.training, page.guard)
        + panels_section(page.panels),
        left_out=sections.left_out(page.quarantine, kept=count),
        provenance=sections.provenance(page.provenance),
        card_link='\n<a href="#model-card">Model card</a>' if page.card else "",
        card=card_html(page.card, "The same text stands in model_card.md, to go with the encoder."),
        data=payload.script_json(_data(page, row_of)),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )
    # The script's hash holds only if line ends stay as they are; a lone surrogate in a name must not stop the report.
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8", errors="replace"))


def _trouble(page: Page, row_of: Mapping[str, int]) -> str:
    """The section, or nothing where nobody looked for trouble."""
    if page.trouble is None:
        return ""
    return (
        '<section id="input-trouble" aria-labelledby="input-trouble-heading">\n'
        '<h2 id="input-trouble-heading">Input trouble</h2>\n'
        f"{sections.begun_with(page.begins.get('trouble', ()))}"
        f"{sections.trouble(page.trouble, page.trouble_pictures, row_of)}\n</section>"
    )


def _data(page: Page, row_of: Mapping[str, int]) -> dict[str, Any]:
    rows = page._thumbnail_rows()
    thumbnails = np.zeros((0, 1, 1, 3), np.uint8) if page.thumbnails is None else page.thumbnails
    ranked = [(str(item["object_id"]), int(item["rank"])) for item in page.anomalies]
    trouble = [
        (str(item["object_id"]), int(item["rank"]), "; ".join(map(str, item.get("flags") or ())))
        for item in page.trouble or ()
    ]
    return {
        "count": len(page.object_ids),
        "ids": payload.id_list(page.object_ids),
        "x": payload.packed(page.xy[:, 0]),
        "y": payload.packed(page.xy[:, 1]),
        "tile": payload.packed(payload.tile_numbers(len(page.object_ids), rows)),
        "sheets": payload.sprite_sheets(thumbnails),
        "columns": [payload.column(name, values) for name, values in page.columns.items()],
        "anomalies": [[row_of[name], rank] for name, rank in ranked if name in row_of],
        "trouble": [[row_of[name], rank, kinds] for name, rank, kinds in trouble if name in row_of],
        "viridis": (matplotlib.colormaps["viridis"](np.linspace(0, 1, 256), bytes=True)[:, :3]).tobytes().hex(),
    }


def _hash_source(script: str) -> str:
    """The content security policy's name for a script with exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def _asset(name: str) -> str:
    return (files("reports") / "assets" / name).read_text(encoding="utf-8")
