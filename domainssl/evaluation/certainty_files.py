"""What was learnt of a head's certainty as a folder of safetensors files, which say what features they go with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from safetensors import SafetensorError, safe_open

from domainssl.evaluation.calibration import Calibration
from domainssl.evaluation.certainty import Asked, Certainty
from domainssl.evaluation.novelty import Familiar
from domainssl.heads.files import load_head, save_head, write_arrays
from domainssl.options import Kind

_FORMAT = "domainssl.certainty.1"
_FILE, _HEAD = "certainty.safetensors", "without-part-{}.safetensors"


def save_certainty(certainty: Certainty, folder: Path, *, features_id: str, outputs: Sequence[str], name: str) -> None:
    """Writes a folder, which is made, each file under another name and renamed; arguments as of `save_head`."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = certainty.kind
    for part, head in enumerate(certainty.heads):
        save_head(head, folder / _HEAD.format(part), features_id=features_id, outputs=outputs, kind=kind, name=name)
    tensors = {"parts": np.array(len(certainty.heads))}
    for place, asked in enumerate(certainty.questions):
        tensors |= {f"{place}.inverse": asked.calibration.inverse, f"{place}.table": asked.calibration.table}
        tensors |= {f"{place}.{part}": rows for part, rows in enumerate(asked.conformity)}
    if certainty.familiar is not None:
        tensors |= {f"familiar.{name}": np.array(value, order="C") for name, value in vars(certainty.familiar).items()}
    how = json.dumps([asked.how for asked in certainty.questions])
    metadata = {"format": _FORMAT, "features_id": features_id, "kind": kind, "how": how}
    write_arrays(folder / _FILE, tensors, metadata)


def load_certainty(folder: Path, features_id: str) -> Certainty:
    """What `save_certainty` wrote. ValueError for another kind of file, and where it goes with other features."""
    path = folder / _FILE
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"{path}: cannot be read as a head's certainty ({error}); classify again") from error
    if metadata.get("format") != _FORMAT or metadata.get("kind") not in get_args(Kind):
        raise ValueError(f"{path}: not of the form {_FORMAT!r}; classify again")
    if metadata["features_id"] != features_id:
        raise ValueError(f"{path}: goes with features {metadata['features_id']!r}, not {features_id!r}; classify again")
    parts = range(int(tensors["parts"]))
    heads = tuple(load_head(folder / _HEAD.format(part), features_id)[0] for part in parts)
    questions = tuple(
        Asked(
            Calibration(tensors[f"{place}.inverse"], tensors[f"{place}.table"]),
            how,
            tuple(tensors[f"{place}.{part}"] for part in parts),
        )
        for place, how in enumerate(json.loads(metadata["how"]))
    )
    own = {key.removeprefix("familiar."): value for key, value in tensors.items() if key.startswith("familiar.")}
    return Certainty(metadata["kind"], heads, questions, Familiar(**own) if own else None)
