"""Tables for other programs: ranked anomalies as CSV and Parquet, the projection, and links to sky viewers."""

import math
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from reports.atomic import replacing

LEADING = ("rank", "object_id", "score")
TRAILING = ("flags", "trouble", "links")


def write_anomalies(frame: pd.DataFrame, folder: Path) -> None:
    """`anomalies.csv` and `anomalies.parquet`: rank, object_id, score, a column per detector, flags, trouble, links.

    `frame` has at least rank (1 is the strangest), object_id and score. `flags` and `trouble` (several texts each: what
    is unusual about the file, what is wrong with the image) and `links` (name to URL) may be absent; they are written
    as one text, texts parted by ";" and URLs by a space. All other columns are
    taken for detectors' scores; their NaN is an empty cell in CSV and null in Parquet. Rows are written in order of
    rank, ids as strings (read the CSV with `dtype={"object_id": str}`, or leading zeros are lost); no rows give tables
    with a header only.
    Raises ValueError for a missing column, a repeated rank or id, or a score that is not a number.
    """
    missing = [name for name in LEADING if name not in frame.columns]
    if missing:
        raise ValueError(f"anomalies: no column {', '.join(missing)} among {', '.join(map(str, frame.columns))}")
    for name in ("rank", "object_id"):
        repeated = frame[name][frame[name].duplicated()]
        if len(repeated):
            raise ValueError(f"anomalies: {name} {repeated.iloc[0]} occurs more than once; rank each object once")
    if not np.isfinite(frame["score"].to_numpy(float)).all():
        raise ValueError("anomalies: a score is NaN or infinite; rank only objects that have a score")
    detectors = [str(name) for name in frame.columns if name not in (*LEADING, *TRAILING)]
    ordered = frame.sort_values("rank")
    table = pa.table(
        {
            "rank": pa.array(ordered["rank"].to_numpy(np.int64)),
            "object_id": pa.array([str(name) for name in ordered["object_id"]], pa.string()),
            "score": pa.array(ordered["score"].to_numpy(np.float32)),
        }
        | {name: pa.array(ordered[name].to_numpy(np.float32), from_pandas=True) for name in detectors}
        | {
            "flags": pa.array([_flags_text(cell) for cell in _cells(ordered, "flags")], pa.string()),
            "trouble": pa.array([_flags_text(cell) for cell in _cells(ordered, "trouble")], pa.string()),
            "links": pa.array([_links_text(cell) for cell in _cells(ordered, "links")], pa.string()),
        }
    )
    with replacing(folder / "anomalies.parquet") as partial:
        pq.write_table(table, partial)
    with replacing(folder / "anomalies.csv") as partial:
        table.to_pandas().to_csv(partial, index=False, lineterminator="\n")


def write_projection(object_ids: Sequence[str], xy: Float[np.ndarray, "n 2"], path: Path) -> None:
    """A Parquet file with object_id (string), projection_x and projection_y (float32), the names Embedding Atlas reads.

    Raises ValueError if there is not one id per point.
    """
    if len(object_ids) != len(xy):
        raise ValueError(f"projection: {len(object_ids)} ids for {len(xy)} points; give one id a point")
    table = pa.table(
        {
            "object_id": pa.array([str(name) for name in object_ids], pa.string()),
            "projection_x": pa.array(xy[:, 0].astype(np.float32)),
            "projection_y": pa.array(xy[:, 1].astype(np.float32)),
        }
    )
    with replacing(path) as partial:
        pq.write_table(table, partial)


def sky_links(
    ra: float | int | np.floating,
    dec: float | int | np.floating,
    *,
    layer: str = "ls-dr9",
    zoom: int = 15,
    field_of_view: float = 0.05,
) -> dict[str, str]:
    """Viewer name to URL for one position: the Legacy Survey viewer and Aladin Lite.

    `ra` and `dec` are ICRS degrees; an ra outside 0..360 is wrapped. `field_of_view` is Aladin's, in degrees. An
    unknown position (NaN) gives no links. Raises ValueError for a declination outside -90..90.
    """
    if math.isnan(ra) or math.isnan(dec):
        return {}
    if not (math.isfinite(ra) and -90 <= dec <= 90):
        raise ValueError(f"ra {ra}, dec {dec}: not a position in ICRS degrees; is the column in radians or hours?")
    # Six decimals are 4 milliarcseconds. Rounding may give 360, so the wrap comes after it.
    place = {"ra": f"{round(float(ra) % 360, 6) % 360:.6f}", "dec": f"{float(dec):.6f}"}
    target = f"{place['ra']} {float(dec):+.6f}"
    return {
        "Legacy Survey": f"https://www.legacysurvey.org/viewer?{urlencode(place | {'layer': layer, 'zoom': zoom})}",
        "Aladin Lite": "https://aladin.cds.unistra.fr/AladinLite/?"
        + urlencode({"target": target, "fov": field_of_view}, quote_via=quote),
    }


def _cells(frame: pd.DataFrame, name: str) -> list[object]:
    return list(frame[name]) if name in frame.columns else [None] * len(frame)


def _flags_text(cell: object) -> str:
    if isinstance(cell, (list, tuple, set, frozenset, np.ndarray)):
        return ";".join(str(flag) for flag in (sorted(cell) if isinstance(cell, (set, frozenset)) else cell))
    return cell if isinstance(cell, str) else ""


def _links_text(cell: object) -> str:
    if isinstance(cell, dict):
        return " ".join(str(url) for url in cell.values())
    return cell if isinstance(cell, str) else ""
