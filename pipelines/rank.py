"""Ranked anomalies: every detector's score, the rank, what is wrong with the input, and where to look it up."""

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from domainssl.anomalies.detectors import DETECTORS
from domainssl.embedding import read_parts
from domainssl.store import Store
from pipelines.objects import Objects
from pipelines.steps import Context, StepResult
from reports.exports import sky_links, write_anomalies

INVALID_SHARE = 0.2  # of the frame; more is worth a flag
BATCH = 1024


def run(context: Context) -> StepResult:
    """Write anomalies.csv and anomalies.parquet for the objects of catalogs to rank, the strangest first."""
    objects = Objects(context)
    ids, embedded, _ = read_parts(context.run.embeddings)
    assert ids == objects.store.object_ids  # parts follow the shards
    rows = np.flatnonzero(objects.used_for("rank"))
    if len(rows) < 2:
        raise ValueError(f'{len(rows)} objects to rank; name "rank" in the use of a catalog with at least 2 objects')
    scores = {
        name: DETECTORS[name](embedded[rows], context.recipe.rank.neighbours) for name in context.recipe.rank.detectors
    }
    score = scores[context.recipe.rank.detectors[0]]
    frame = pd.DataFrame({"object_id": np.array(ids)[rows], "score": score}).assign(**scores)
    frame["flags"] = flags(objects.store, rows)
    columns = objects.frame.iloc[rows]
    frame["links"] = pd.Series(
        [
            {} if objects.simulated else sky_links(ra, dec)  # no viewer shows a simulated place
            for ra, dec in zip(columns["ra"].to_numpy(float), columns["dec"].to_numpy(float), strict=True)
        ],
        dtype=object,
    )
    frame = frame.sort_values(["score", "object_id"], ascending=[False, True], ignore_index=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    write_anomalies(frame, context.run.folder)
    outputs = (context.run.anomalies, context.run.anomalies_parquet)
    return StepResult(outputs, {"ranked": len(frame)})


def flags(store: Store, rows: Int64[np.ndarray, " n"]) -> list[tuple[str, ...]]:
    """What is wrong with each input: "partly invalid" where over a fifth of the frame has no valid pixel."""
    shares: list[Float32[np.ndarray, " b"]] = []
    for start in range(0, len(rows), BATCH):
        valid = store.batch(rows[start : start + BATCH]).valid
        shares.append(1 - valid.float().mean(dim=(1, 2, 3)).numpy())
    return [("partly invalid",) if share > INVALID_SHARE else () for share in np.concatenate(shares)]
