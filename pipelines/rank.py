"""Ranked anomalies: every detector's score, their consensus, what is wrong with the input, and where to look it up."""

import numpy as np
import pandas as pd

from domainssl.anomalies.consensus import consensus
from domainssl.anomalies.detectors import DETECTORS
from domainssl.anomalies.input_trouble import find_trouble
from domainssl.embedding import read_parts
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.run_folder import RunFolder
from pipelines.steps import Context, StepResult
from reports.exports import sky_links, write_anomalies


def run(context: Context) -> StepResult:
    """Write anomalies.csv and anomalies.parquet for the objects of catalogs to rank, the strangest first."""
    return rank(context, None)


def rank(context: Context, reference: RunFolder | None) -> StepResult:
    """The same, each object against the others of its run, or against those that a finished run ranked."""
    objects = Objects(context)
    ids, embedded, _ = read_parts(context.run.embeddings)
    assert ids == objects.store.object_ids  # parts follow the shards
    rows = np.flatnonzero(objects.used_for("rank"))
    if len(rows) < 2 and reference is None:
        raise ValueError(f'{len(rows)} objects to rank; name "rank" in the use of a catalog with at least 2 objects')
    options, seed = context.recipe.rank, context.recipe.seed
    against: dict[str, np.ndarray] | None = None
    seen = None
    if reference is not None:
        finished = pd.read_parquet(reference.anomalies_parquet)
        against = {name: finished[name].to_numpy(np.float32) for name in options.detectors}
        names, vectors, _ = read_parts(reference.embeddings)
        seen = vectors[np.isin(names, finished["object_id"].to_numpy(str))]
    scores: dict[str, np.ndarray] = {
        name: DETECTORS[name](embedded[rows], options, seed, seen) for name in options.detectors
    }
    frame = pd.DataFrame({"object_id": np.array(ids)[rows], "score": consensus(scores, against)}).assign(**scores)
    frame["flags"] = [objects.store.flags[row] for row in rows]
    frame["trouble"] = find_trouble(objects.store, rows, DOMAINS[context.recipe.domain].upright)
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
    troubled = int(frame["trouble"].map(len).astype(bool).sum())
    return StepResult(outputs, {"ranked": len(frame), "in trouble": troubled})
