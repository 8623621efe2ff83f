"""A run's results for notebooks: `from pipelines import Run; Run("runs/x").embeddings`."""

import json
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from pipelines.run_folder import RunFolder, RunFolderError


@final
class Run:
    """Reads a run folder, nothing else; each property reads its file anew.

    RunFolderError where `path` is no run, and where the step that makes a file has not been done: it says which
    command does it.
    """

    def __init__(self, path: str | Path) -> None:
        self.files = RunFolder.open(Path(path), create=False)

    def __repr__(self) -> str:
        steps = self.manifest["steps"]
        done = [step for step, record in steps.items() if "finished" in record]
        return f"Run({str(self.files.folder)!r}): done {', '.join(done) or 'nothing yet'}"

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, seed, hashes, times and counts."""
        return self.files.read_manifest()

    @property
    def catalog(self) -> pd.DataFrame:
        """One row an object that was read, with its labels, group and split."""
        self._demand("prepare", "catalog")
        return pd.read_parquet(self.files.catalog)

    @property
    def quarantine(self) -> pd.DataFrame:
        """What was left out: object_id, reason, detail."""
        self._demand("prepare", "quarantine")
        return pd.read_csv(self.files.quarantine, dtype={"object_id": str})

    @property
    def embeddings(self) -> pd.DataFrame:
        """One row an object: object_id, ra, dec and `embedding` (one float16 array a row)."""
        frame: pd.DataFrame = self._embedding_table().to_pandas()
        return frame

    @property
    def vectors(self) -> Float32[np.ndarray, "object width"]:
        """The embeddings as one array, in the order of the rows of `embeddings`."""
        column = self._embedding_table().column("embedding").combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        return flat.reshape(len(column), -1) if len(column) else np.zeros((0, column.type.list_size), np.float32)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a score: label, start, head, labels_per_class, metric, value, low, high, n_groups …"""
        self._demand("classify", "metrics")
        return pd.DataFrame(json.loads(self.files.metrics.read_bytes()))

    @property
    def predictions(self) -> pd.DataFrame:
        """What the heads say of each object."""
        self._demand("classify", "predictions")
        return pd.read_parquet(self.files.predictions)

    @property
    def suspects(self) -> pd.DataFrame:
        """Labels to check, the most suspicious of each label first: rank, object_id, label, given, suggested, score,
        half."""
        return self._list(self.files.suspects)

    @property
    def next_labels(self) -> pd.DataFrame:
        """What to label next: rank, object_id, label, alike, distance, uncertainty, why."""
        return self._list(self.files.next_labels)

    @property
    def anomalies(self) -> pd.DataFrame:
        """All ranked objects, the most anomalous first: rank, object_id, score, a column a detector …"""
        self._demand("rank", "anomalies")
        return pd.read_parquet(self.files.anomalies_parquet)

    @property
    def projection(self) -> pd.DataFrame:
        """Where each object lies on the map."""
        self._demand("report", "projection")
        return pd.read_parquet(self.files.projection)

    def _list(self, path: Path) -> pd.DataFrame:
        self._demand("classify", path.stem)
        if not path.is_file():  # a run made by an earlier version, or one that `apply` made
            command = f"domainssl classify {self.files.recipe} --out {self.files.folder} --force"
            raise RunFolderError(f"no {path.name} in {self.files.folder}; `{command}` makes it where there are labels")
        texts = ("object_id", "label", "given", "suggested", "why")
        return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)

    def _embedding_table(self) -> pa.Table:
        self._demand("embed", "embeddings")
        parts = sorted(self.files.embeddings.glob("part-*.parquet"))
        return pa.concat_tables([pq.read_table(part) for part in parts])

    def _demand(self, step: str, what: str) -> None:
        if "finished" not in self.files.record(step):
            folder = self.files.folder
            command = f"domainssl {step} {self.files.recipe} --out {folder}"
            raise RunFolderError(f"no {what} in {folder} yet; `{command}` makes them")
