"""What a run would do and need, before it is started: rows, disk, which steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pipelines.domains import DOMAINS
from pipelines.privacy import guarded
from pipelines.recipe import CatalogEntry, Recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import DEPENDS, NEEDLESS, State, StepError, check_encoder, describe, input_fingerprints, states

FLOAT16 = 2
BESIDE_VECTOR = 40  # object_id, ra and dec of one object, before compression


@final
@dataclass(frozen=True)
class Estimate:
    """Rows a catalog, bytes of the store and of the embeddings before compression, and what becomes of each step."""

    rows: Mapping[str, int]
    store_bytes: int
    embedding_bytes: int
    steps: Mapping[str, str]
    seconds: Mapping[str, float | None]

    def as_dict(self) -> dict[str, object]:
        """For --json; seconds are those of this run folder's last time, null where never measured."""
        return {
            "rows": dict(self.rows),
            "bytes": {"store": self.store_bytes, "embeddings": self.embedding_bytes},
            "steps": dict(self.steps),
            "seconds_last_time": dict(self.seconds),
        }

    def text(self) -> str:
        """For a person."""
        lines = [f"catalog {name}: {count:,} rows" for name, count in self.rows.items()]
        lines.append(f"disk: store {_size(self.store_bytes)}, embeddings {_size(self.embedding_bytes)} at most")
        for name, what in self.steps.items():
            seconds = self.seconds[name]
            time = "not measured yet" if seconds is None else f"took {seconds / 3600:.2f} hours last time here"
            lines.append(f"{name}: {what}; {time}")
        return "\n".join(lines)


def estimate(recipe: Recipe, out: Path) -> Estimate:
    """Counts rows and looks at the run folder, if there is one; writes nothing. Imports timm for the encoder's width.

    Raises StepError for tables that prepare could not read, RecipeError for encoders that timm does not know.
    """
    rows = {entry.name: count_rows(entry, recipe) for entry in recipe.catalog}
    total = sum(rows.values())
    steps, seconds = _steps(recipe, out)
    image = len(recipe.bands) * recipe.store.size**2 * FLOAT16
    vector = _width(recipe) * FLOAT16 + BESIDE_VECTOR
    return Estimate(rows, total * image, total * vector, steps, seconds)


def count_rows(entry: CatalogEntry, recipe: Recipe) -> int:
    """The objects of a catalog as prepare will read it, without their images; StepError where that would fail."""
    from catalogs.tables import read_catalog
    from pipelines.catalog import source

    try:
        with guarded(DOMAINS[recipe.domain].private):
            return len(read_catalog(source(entry, recipe.domain), recipe.label_columns))
    except (OSError, ValueError) as error:
        raise StepError("prepare", describe(error)) from error


def _steps(recipe: Recipe, out: Path) -> tuple[dict[str, str], dict[str, float | None]]:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        fresh = {
            name: State(None, False, None, NEEDLESS[name](recipe) if name in NEEDLESS else None) for name in DEPENDS
        }
        return {name: _what(state) for name, state in fresh.items()}, dict.fromkeys(DEPENDS)
    run = RunFolder.open(out, create=False)
    found = states(recipe, run, input_fingerprints(recipe, run))
    return {name: _what(state) for name, state in found.items()}, {
        name: run.record(name).get("seconds") for name in found
    }


def _width(recipe: Recipe) -> int:
    if recipe.encoder.weights.endswith(".safetensors"):
        from domainssl.encoders import load_encoder

        return load_encoder(Path(recipe.encoder.weights)).width
    check_encoder(recipe)
    import timm
    import torch

    with torch.device("meta"):  # the shape of the network, none of its numbers
        return int(timm.create_model(recipe.encoder.name, pretrained=False).num_features)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 100 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _what(state: State) -> str:
    if state.needless:
        return f"not needed, {state.needless}"
    if state.done:
        return "done before, would be skipped"
    return {
        "never": "would be done",
        "interrupted": "was interrupted, would go on or start again",
        "finished": "was done under another recipe or other inputs, or follows such a step: would be done again",
    }[state.before]
