"""Fitted heads as safetensors files, which say what features they read and what they predict."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from domainssl.heads.dirichlet import DirichletHead
from domainssl.heads.head import FittedHead
from domainssl.heads.knn import KnnHead
from domainssl.heads.linear import LinearHead
from domainssl.heads.multilabel import MultilabelHead
from domainssl.heads.ordinal import OrdinalHead
from domainssl.heads.propagation import PropagationHead
from domainssl.heads.prototype import PrototypeHead
from domainssl.heads.ridge import RidgeHead

FITTED: Mapping[str, type[FittedHead]] = {
    "dirichlet": DirichletHead,
    "knn": KnnHead,
    "linear": LinearHead,
    "multilabel": MultilabelHead,
    "ordinal": OrdinalHead,
    "propagation": PropagationHead,
    "prototype": PrototypeHead,
    "ridge": RidgeHead,
}

_FORMAT = "domainssl.head.1"


def save_head(head: FittedHead, path: Path, *, features_id: str, outputs: Sequence[str], kind: str, name: str) -> None:
    """Writes safetensors under another name and renames.

    `features_id` says which features the head reads, `outputs` names its predictions, `kind` is that of the label and
    `name` that of the head ("linear", "lda", ...). Raises ValueError for a head whose class is not in FITTED.
    """
    shape = next((key for key, cls in FITTED.items() if type(head) is cls), None)
    if shape is None:
        raise ValueError(f"{path}: a {type(head).__name__} cannot be saved; give one of {', '.join(FITTED)}")
    # Not ascontiguousarray: that would make a vector of a scalar.
    tensors = {f.name: np.array(getattr(head, f.name), order="C") for f in fields(FITTED[shape])}  # type: ignore[arg-type]
    metadata = {
        "format": _FORMAT,
        "class": shape,
        "features_id": features_id,
        "outputs": json.dumps(list(outputs)),
        "kind": kind,
        "name": name,
    }
    write_arrays(path, tensors, metadata)


def write_arrays(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays and texts as safetensors under another name and renames."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(dict(tensors), partial, metadata=dict(metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_head(path: Path, features_id: str) -> tuple[FittedHead, tuple[str, ...], str, str]:
    """The head that `save_head` wrote, the names of its outputs, the kind of label and the name of the head.

    Raises ValueError for another kind of file and where the head reads other features.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: not a head ({error}); give a file written by save_head") from error
    cls = FITTED.get(metadata.get("class", ""))
    if metadata.get("format") != _FORMAT or cls is None:
        raise ValueError(f"{path}: not a head of format {_FORMAT!r}; give a file written by save_head, or fit it again")
    if metadata["features_id"] != features_id:
        raise ValueError(
            f"{path}: the head reads features {metadata['features_id']!r}, not {features_id!r}; fit it again"
        )
    expected = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if expected != set(tensors):
        raise ValueError(f"{path}: arrays {sorted(tensors)} where a {metadata['class']} head has {sorted(expected)}")
    return cls(**tensors), tuple(json.loads(metadata["outputs"])), metadata["kind"], metadata["name"]
