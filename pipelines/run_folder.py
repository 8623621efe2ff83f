"""A run's folder: where its files lie, its manifest, which steps are done, and one lock."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from pipelines.atomic import remove_stale, write_json

PACKAGES = ("domainssl", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "umap-learn")


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked."""


class NotARunError(RunFolderError):
    """A path that is no run folder."""


@final
@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Every file in it is written under another name and renamed (pipelines/atomic.py)."""

    folder: Path

    @classmethod
    def open(cls, path: Path, create: bool) -> "RunFolder":
        """The run at `path`; `create` makes it where there is nothing yet, or an empty folder.

        NotARunError for a folder that holds something else, and for a missing one unless `create`.
        """
        run = cls(path)
        if run.manifest.is_file():
            run.read_manifest()
            return run
        if path.exists() and not path.is_dir():
            raise NotARunError(f"{path} is a file; give the run a folder of its own with --out")
        if path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise NotARunError(f"{path} holds other files and no manifest.json, so it is no run; give another --out")
        if not create:
            raise NotARunError(f"no run at {path}; `domainssl run RECIPE --out {path}` makes one")
        path.mkdir(parents=True, exist_ok=True)
        write_json(run.manifest, {"run": secrets.token_hex(8), "created": _now(), "steps": {}})
        return run

    @property
    def identity(self) -> str:
        """A name of this run that no other has, wherever its folder is moved."""
        return str(self.read_manifest()["run"])

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.parquet"

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine.csv"

    @property
    def review(self) -> Path:
        """Images that a person has to look at, each with the reason."""
        return self.folder / "review.csv"

    @property
    def shared(self) -> Path:
        """The page that can be handed out, where it was asked for (see pipelines.share)."""
        return self.folder / "shared.html"

    @property
    def duplicates(self) -> Path:
        """Objects that stand in the run more than once, by position or by image."""
        return self.folder / "duplicates.csv"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def pretraining(self) -> Path:
        return self.folder / "pretraining.jsonl"

    @property
    def panels(self) -> Path:
        """Pictures of what the method of pretraining does, for the page."""
        return self.folder / "method.npz"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder.safetensors"

    @property
    def scratch(self) -> Path:
        """The encoder that was pretrained from random weights, to compare with."""
        return self.folder / "scratch.safetensors"

    @property
    def embeddings(self) -> Path:
        return self.folder / "embeddings"

    @property
    def starts(self) -> Path:
        """Embeddings by the encoders that the run's own is compared to: a folder for each start, parts as above."""
        return self.folder / "starts"

    @property
    def heads(self) -> Path:
        return self.folder / "heads"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.parquet"

    @property
    def predictions_csv(self) -> Path:
        return self.folder / "predictions.csv"

    @property
    def certainty(self) -> Path:
        """What the test half says of how far predictions can be trusted."""
        return self.folder / "certainty.json"

    @property
    def audit(self) -> Path:
        """What the embedding tells beside the labels, and scores by level of it."""
        return self.folder / "audit.json"

    @property
    def subgroups(self) -> Path:
        """Scores by sex, age, site and their like, and of heads that learnt at one site at another."""
        return self.folder / "subgroups.json"

    @property
    def shift(self) -> Path:
        """Of a run that was applied: whether the new objects are others than those it learnt from."""
        return self.folder / "shift.json"

    @property
    def baselines(self) -> Path:
        """What heads without the image, or without texture, shape or marks, score beside the run's own."""
        return self.folder / "baselines.json"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def metrics_csv(self) -> Path:
        """The same rows for spreadsheets; the report writes them, with a figure a label beside them."""
        return self.folder / "metrics.csv"

    @property
    def suspects(self) -> Path:
        """Labels to check (see pipelines.label_lists)."""
        return self.folder / "suspects.csv"

    @property
    def next_labels(self) -> Path:
        """What to label next."""
        return self.folder / "next_labels.csv"

    @property
    def anomalies(self) -> Path:
        return self.folder / "anomalies.csv"

    @property
    def anomalies_parquet(self) -> Path:
        return self.folder / "anomalies.parquet"

    @property
    def projection(self) -> Path:
        return self.folder / "projection.parquet"

    @property
    def applied(self) -> Path:
        """What this run said of other catalogs: a run's folder for each."""
        return self.folder / "applied"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def model_card(self) -> Path:
        """What a stranger must know of the encoder and its heads, in Markdown."""
        return self.folder / "model_card.md"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process while the block runs, and clears what killed processes left half-written.

        RunFolderError where another process holds it. The lock ends with the process, however that ends.
        """
        with (self.folder / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise RunFolderError(
                    f"{self.folder} is in use by process {holder}; wait until it ends, or give another --out"
                ) from None
            except OSError as error:
                raise RunFolderError(
                    f"{self.folder} cannot be locked ({error.strerror}); put runs on a file system that has locks"
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            remove_stale(self.folder)
            yield

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; RunFolderError where it is not readable."""
        try:
            manifest = json.loads(self.manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.manifest} is not readable ({error}); start another run") from None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("steps"), dict):
            raise RunFolderError(f"{self.manifest} is no manifest of a run; start another run")
        return manifest

    def update(self, **sections: object) -> None:
        """Sets sections of the manifest at once; a mapping is merged into the one that is there. Under the lock."""
        manifest = self.read_manifest()
        for name, section in sections.items():
            before = manifest.get(name)
            both = isinstance(section, Mapping) and isinstance(before, dict)
            manifest[name] = {**before, **section} if both else section  # type: ignore[dict-item]
        write_json(self.manifest, manifest)

    def record(self, step: str) -> dict[str, Any]:
        """What the manifest says of a step; empty where it was never begun."""
        record: dict[str, Any] = self.read_manifest()["steps"].get(step, {})
        return record

    def is_done(self, step: str, key: str) -> bool:
        """Whether the step was finished under this key and its outputs are there in their recorded sizes."""
        record = self.record(step)
        if record.get("key") != key or "finished" not in record:
            return False
        return all(_size(self.folder / name) == size for name, size in record["outputs"].items())

    def begin(self, step: str, key: str) -> None:
        """Records that the step is being done, so that it counts as undone until `mark_done`."""
        self.update(steps={step: {"key": key, "started": _now()}})

    def mark_done(self, step: str, key: str, outputs: Sequence[Path], **facts: object) -> None:
        """Records a finished step: its outputs (files or folders of this run) with their sizes, and `facts` about it.

        `made` is another token each time, on which later steps depend. ValueError for outputs that are not there.
        """
        sizes = {}
        for path in outputs:
            size = _size(path)
            if size is None:
                raise ValueError(f"{step} says it wrote {path}, which is not there")
            sizes[path.relative_to(self.folder).as_posix()] = size
        record = {"key": key, "made": secrets.token_hex(8), "finished": _now(), "outputs": sizes, **facts}
        self.update(steps={step: record})

    def invalidate(self, step: str) -> None:
        """Forgets that a step was done; its files stay."""
        manifest = self.read_manifest()
        if manifest["steps"].pop(step, None) is not None:
            write_json(self.manifest, manifest)


def step_key(recipe_part: Mapping[str, object], upstream: Sequence[str], inputs: Mapping[str, str]) -> str:
    """The sha256 of all that decides a step's outcome: its part of the recipe, the steps before, its input files."""
    canonical = json.dumps([recipe_part, list(upstream), inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """The sha256 of a file's content; of a folder, of the names and sizes of the files in it and below."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        digest.update(f"{file_path.relative_to(path).as_posix()}\0{file_path.stat().st_size}\0".encode())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """Versions, platform and a hash of our own code, without importing any of it; None for what is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {"versions": versions, "platform": platform.platform(), "code": _code_hash()}


def _code_hash() -> str:
    digest = hashlib.sha256()
    for package in ("catalogs", "domainssl", "pipelines", "reports"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _size(path: Path) -> int | list[int] | None:
    """Bytes of a file; number of files and bytes together of a folder; None where there is nothing."""
    if path.is_file():
        return path.stat().st_size
    if path.is_dir():
        sizes = [entry.stat().st_size for entry in path.rglob("*") if entry.is_file()]
        return [len(sizes), sum(sizes)]
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
