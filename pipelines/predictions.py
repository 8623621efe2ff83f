"""What heads say of every object: the likeliest answer, scores, the set that holds the truth, whether it is far."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from domainssl.evaluation.certainty import Certainty
from domainssl.evaluation.conformal import COVERAGE
from domainssl.evaluation.metric import Prediction
from domainssl.evaluation.value_metrics import median_level
from domainssl.heads.head import FittedHead
from pipelines.atomic import atomic_write
from pipelines.run_folder import RunFolder
from pipelines.votes import vote_columns

# What follows a label's name in predictions.parquet, after two colons: answers follow one.
SET, FAR = f"set{round(100 * COVERAGE)}", "far"


def predicted(
    label: str,
    kind: str,
    outputs: tuple[str, ...],
    head: FittedHead,
    certainty: Certainty,
    features: Float[np.ndarray, "n d"],
) -> dict[str, np.ndarray]:
    """Columns of predictions.parquet, which begin with the label's name.

    LABEL is what is predicted: the likeliest class, the level in the middle of the predicted distribution, the findings
    above one half, the answer with most votes, or the value. LABEL:OUTPUT are scores, calibrated where the run could;
    LABEL::set90 (of a finding LABEL:FINDING::set90) the classes that hold the truth in nine of ten images, parted by
    semicolons, where enough labels were there to promise it; LABEL::far whether the image is far from every labelled
    one, where that can be told. Of votes, LABEL:ANSWER::low90 and ::high90, see `pipelines.votes`.
    """
    scores = certainty.calibrated(head.predict(features))
    names: np.ndarray = np.array(outputs, dtype=object)
    found: dict[str, np.ndarray] = {}
    if kind == "real":
        found[label] = scores[:, 0].astype(np.float32)
    else:
        found[label] = _likeliest(kind, names, scores)
        found |= {f"{label}:{name}": scores[:, k].astype(np.float32) for k, name in enumerate(outputs)}
    if kind == "votes":
        found |= vote_columns(label, outputs, head, scores)
    for place, inside in enumerate(certainty.sets(features, scores)):
        if inside is not None and kind == "multilabel":
            found[f"{label}:{outputs[place]}::{SET}"] = _joined(np.array(["no", "yes"], dtype=object), inside)
        elif inside is not None:
            found[f"{label}::{SET}"] = _joined(names, inside)
    if certainty.familiar is not None:
        found[f"{label}::{FAR}"] = certainty.familiar.far(features)
    return found


def write_predictions(predictions: pd.DataFrame, folder: RunFolder) -> None:
    """The same table as Parquet and as CSV, whose numbers have six digits."""
    with atomic_write(folder.predictions) as part:
        predictions.to_parquet(part, index=False)
    with atomic_write(folder.predictions_csv) as part:
        predictions.to_csv(part, index=False, float_format="%.6g")


def _likeliest(kind: str, names: np.ndarray, scores: Float[np.ndarray, "n k"]) -> np.ndarray:
    if kind == "multilabel":
        return _joined(names, scores >= 0.5)
    if kind == "ordered":
        return np.asarray(names[median_level(Prediction(scores))])
    return np.asarray(names[scores.argmax(axis=1)])


def _joined(names: np.ndarray, inside: Bool[np.ndarray, "n k"]) -> np.ndarray:
    """The names of each row, parted by semicolons; rows that are alike are joined once."""
    kinds, member = np.unique(inside, axis=0, return_inverse=True)
    return np.array([";".join(names[row]) for row in kinds], dtype=object)[member.ravel()]
